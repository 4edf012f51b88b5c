"""Micrographs drawn to be measured: bright disks on a dark, noisy ground, and a tiny model."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from microseg.network.model_card import Environment
from microseg.network.model_io import describe, write_model
from microseg.network.unet import UNet

from tiny_training import blobs, tiny_params

USED = Environment("cpu", "1 x test", "float32", "torch test")
RADIUS = 8


def disks(height=96, width=128, count=6, seed=0):
    """Return a micrograph with that many disks inside of it, none touching another or the border."""
    random = np.random.default_rng(seed)
    rows, columns = np.ogrid[:height, :width]
    mask = np.zeros((height, width), bool)
    cells = [(row, column) for row in range(height // 32) for column in range(width // 32)]
    for cell in random.choice(len(cells), size=count, replace=False):
        row, column = (32 * place + 16 + random.integers(-4, 5) for place in cells[cell])
        mask |= (rows - row) ** 2 + (columns - column) ** 2 <= RADIUS**2
    grey = np.where(mask, 190, 60) + random.normal(0, 5, mask.shape)
    return grey.clip(0, 255).astype(np.uint8), mask


def write_disks(folder: Path, names, **options):
    """Write a micrograph of disks for each name, and return the masks by name."""
    masks = {}
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        grey, masks[name] = disks(seed=seed, **options)
        Image.fromarray(grey).save(folder / name)
    return masks


def write_tiny_model(folder: Path, **params) -> Path:
    """Write a model of two base channels that has learnt nothing; `params` are those of its training."""
    folder.mkdir()
    torch.manual_seed(0)
    training, validation = blobs(folder, ["a.png", "b.png"]), blobs(folder, ["c.png"])
    card = describe(3, 0.7, training, validation, tiny_params(**params), 5, USED)
    write_model(folder, UNet(2).state_dict(), card)
    return folder
