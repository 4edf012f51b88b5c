"""Augmentation: random changes of training crops that keep masks valid.

Crops are (height, width) arrays: grey values as float32 from 0 to 1, masks as bool, or as float32 fractions of
foreground.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from microseg.common.params import AugmentParams

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_ | np.float32]


def augment(grey: Grey, mask: Mask, settings: AugmentParams, random: np.random.Generator) -> tuple[Grey, Mask]:
    """Return the crop and its mask with random changes within the limits of `settings`."""
    if settings.flips == "d4":
        grey, mask = random_d4(grey, mask, random)
    if settings.flips == "hflip" and random.integers(2):
        grey, mask = grey[:, ::-1], mask[:, ::-1]
    if settings.random_erasing and random.uniform() < settings.random_erasing:
        grey = random_erasing(grey, random)
    return random_grey_values(grey, settings, random), mask


def random_d4(grey: Grey, mask: Mask, random: np.random.Generator) -> tuple[Grey, Mask]:
    """Return both under one of the eight symmetries of a square crop, or the four of a rectangular one."""
    transpose, upside_down, mirror = random.integers(2, size=3).tolist()
    if transpose and grey.shape[0] == grey.shape[1]:
        grey, mask = grey.T, mask.T
    if upside_down:
        grey, mask = grey[::-1], mask[::-1]
    if mirror:
        grey, mask = grey[:, ::-1], mask[:, ::-1]
    return grey, mask


def random_factor(largest_change: float, random: np.random.Generator) -> float:
    """Return a factor from 1 / (1 + change) to 1 + change, where f and 1 / f are equally likely."""
    return float(np.exp(random.uniform(-1, 1) * np.log1p(largest_change)))


def random_erasing(grey: Grey, random: np.random.Generator) -> Grey:
    """Return the crop with one to three rectangles painted over, under which the network has to infer the mask.

    Height and width of each are 0.15 to 0.6 of those of the crop; half of them are as wide as the crop. Each has a
    linear gradient of grey values, like embedding resin. After Zhong et al., AAAI 34:13001 (2020).
    """
    grey = grey.copy()
    for _ in range(random.integers(1, 4)):
        height, width = (round(side * random.uniform(0.15, 0.6)) for side in grey.shape)
        if random.integers(2):
            width = grey.shape[1]
        top, left = random.integers(grey.shape[0] - height + 1), random.integers(grey.shape[1] - width + 1)
        down, across = np.linspace(-1, 1, height)[:, np.newaxis], np.linspace(-1, 1, width)
        slopes = random.uniform(-0.2, 0.2, size=2)
        gradient = random.uniform() + slopes[0] * down + slopes[1] * across
        grey[top : top + height, left : left + width] = gradient.clip(0, 1)
    return grey


def random_grey_values(grey: Grey, settings: AugmentParams, random: np.random.Generator) -> Grey:
    """Return the crop with gamma, blur, contrast, brightness and noise applied; its values may leave 0 to 1."""
    if settings.gamma:
        grey = grey ** np.float32(random_factor(settings.gamma, random))
    if settings.blur_sigma:
        grey = gaussian_filter(grey, sigma=random.uniform(0, settings.blur_sigma), mode="nearest")
    if settings.contrast:
        mean = grey.mean()
        grey = (grey - mean) * np.float32(1 + random.uniform(-settings.contrast, settings.contrast)) + mean
    if settings.brightness:
        grey = grey + np.float32(random.uniform(-settings.brightness, settings.brightness))
    if settings.noise_std:
        std = np.float32(random.uniform(0, settings.noise_std))
        grey = grey + std * random.standard_normal(grey.shape, dtype=np.float32)
    return grey
