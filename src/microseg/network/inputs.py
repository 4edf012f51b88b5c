"""The input of the network: the grey values of a micrograph, downsampled and normalized.

On downsampled micrographs a network has more context around each pixel for the same work (as the low-resolution
stage of nnU-Net, Isensee et al., Nature Methods 18:203, 2021). Its logits are upsampled to the size of the
micrograph, at which they are evaluated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.micrographs.images import read_mask, read_micrograph

# Nearly the mean of the pixels that a larger one covers, but without the shifts of half a pixel that a box filter
# has at factors that are not integers. Pillow computes it in integers, with the same result on every processor.
DOWNSAMPLING = Image.Resampling.HAMMING


def downsampled_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return the (height, width), 1 at least, of a micrograph of `size` after downsampling by `factor`."""
    height, width = (max(1, round(side / factor)) for side in size)
    return height, width


def downsample(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Return an image, (height, width) of 0 to 255, antialiased with pixels `factor` times as wide.

    For 255 times a mask these are 255 times the fraction of foreground in each pixel.
    """
    return resize(image, downsampled_size(image.shape[:2], factor))


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image, (height, width) of 0 to 255, in another size: antialiased, or interpolated bilinearly."""
    if image.shape == size:
        return image
    height, width = size
    resampling = DOWNSAMPLING if height < image.shape[0] or width < image.shape[1] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((width, height), resampling))


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Return logits, (batch, 1, height, width), interpolated bilinearly to another (height, width), as float32."""
    height, width = size
    if logits.shape[-2:] == (height, width):
        return logits
    return functional.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)


def upsample_array(logits: NDArray[np.floating], size: Sequence[int]) -> NDArray[np.floating]:
    """Return the logits of one micrograph, (height, width), upsampled to the (height, width) `size`."""
    larger: NDArray[np.floating] = upsample(torch.from_numpy(logits)[None, None], size)[0, 0].numpy()
    return larger


def downsampling_method(factor: float) -> str:
    """Return all that determines the result of `downsample` beside the image."""
    return f"factor {factor}, {DOWNSAMPLING.name}, Pillow {PIL.__version__}"


InputNormalization = Literal["zscore", "imagenet", "none"]
"""With imagenet the network gets values from 0 to 1, and normalizes each of its three channels itself."""

# One step of 8-bit grey values, to divide by where a micrograph has one single grey value.
SMALLEST_STD = 1 / 255

# Counting grey values takes 8 bytes a pixel: this many pixels at a time, for micrographs of any size.
PIXELS_AT_A_TIME = 1 << 22


class GreyStatistics(NamedTuple):
    """Mean and standard deviation of the grey values, 0 to 1, of a whole micrograph."""

    mean: np.float32
    std: np.float32


def grey_statistics(micrograph: NDArray[np.uint8]) -> GreyStatistics:
    """Return the statistics of a micrograph, (height, width) of 0 to 255, which may be memory-mapped."""
    rows = max(1, PIXELS_AT_A_TIME // micrograph.shape[1])
    counts = np.zeros(256, dtype=np.int64)
    for top in range(0, len(micrograph), rows):
        counts += np.bincount(micrograph[top : top + rows].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = np.average(values, weights=counts)
    std = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    return GreyStatistics(np.float32(mean), np.float32(max(std, SMALLEST_STD)))


def normalize(grey: NDArray[np.float32], statistics: GreyStatistics) -> NDArray[np.float32]:
    """Return the z-scores of `grey`, values from 0 to 1, by the statistics of the whole micrograph it is from."""
    return (grey - statistics.mean) / statistics.std


def network_input(
    micrograph: NDArray[np.uint8],
    input_normalization: InputNormalization,
    statistics: GreyStatistics | None = None,
    factor: float = 1.0,
) -> Tensor:
    """Return a micrograph as input of the network: (1, height, width), downsampled by `factor` and normalized.

    For a part of a micrograph the `statistics` of the whole one are given, by which it is normalized.
    """
    small = downsample(micrograph, factor)
    grey = to_grey(small)
    if input_normalization == "zscore":
        grey = normalize(grey, statistics or grey_statistics(small))
    return torch.from_numpy(grey[np.newaxis])


def to_grey(micrograph: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return grey values of 0 to 255 as 0 to 1."""
    return micrograph.astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class MaskedMicrographs:
    """Micrographs by name: their folder, and the folder with a mask of the same name for each."""

    images: Path
    masks: Path
    names: tuple[str, ...]

    @cached_property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """The digests of each micrograph's file and of its mask's, which are read for them only once."""
        for index, name in enumerate(self.names):
            if not ((self.images / name).is_file() and (self.masks / name).is_file()):
                self.read(index)  # raises an error that names the missing file
        return tuple((file_digest(self.images / name), file_digest(self.masks / name)) for name in self.names)

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return a micrograph and its mask, both (height, width); InputError where their sizes differ."""
        name = self.names[index]
        micrograph, mask = read_micrograph(self.images / name), read_mask(self.masks / name)
        if micrograph.shape != mask.shape:
            raise InputError(
                f"{self.masks / name}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its micrograph "
                f"{micrograph.shape[1]} x {micrograph.shape[0]}; rerun the stage rasterize_masks"
            )
        return micrograph, mask
