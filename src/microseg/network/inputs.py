"""What the network sees of a micrograph: grey values, downsampled and normalized.

A network that sees larger pixels sees more of the micrograph around each of them, for the same work (as the
low-resolution stage of nnU-Net, Isensee et al., Nature Methods 18:203, 2021). Its logits are upsampled to the
micrograph's own size, at which they are measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from microseg.micrographs.images import read_mask, read_micrograph

# Nearly the mean of the pixels that a larger one covers, without the jumps of half a pixel that a plain mean makes
# where the scale is no whole number. Pillow computes it in whole numbers, which are the same on every processor.
DOWNSAMPLING = Image.Resampling.HAMMING


def downsampled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the (height, width), 1 at least, at which a network sees a micrograph of `size`."""
    height, width = (max(1, round(side / scale)) for side in size)
    return height, width


def downsample(layer: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return a layer, (height, width) of 0 to 255, with pixels `scale` times as wide; at scale 1 as it is.

    For a micrograph these are antialiased grey values, for 255 times a mask 255 times the share of foreground.
    """
    return resize(layer, downsampled_size(layer.shape[:2], scale))


def resize(layer: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a layer, (height, width) of 0 to 255, with another size: antialiased, or interpolated linearly."""
    if layer.shape == size:
        return layer
    height, width = size
    resampling = DOWNSAMPLING if height < layer.shape[0] or width < layer.shape[1] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(layer).resize((width, height), resampling))


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Return logits, (batch, 1, height, width), interpolated linearly to the (height, width) `size`, as float32.

    Where that is their size already they are returned as they are.
    """
    height, width = size
    if logits.shape[-2:] == (height, width):
        return logits
    return functional.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)


def upsample_array(logits: NDArray[np.floating], size: Sequence[int]) -> NDArray[np.floating]:
    """Do the same with the logits of one micrograph, (height, width), in main memory."""
    larger: NDArray[np.floating] = upsample(torch.from_numpy(logits)[None, None], size)[0, 0].numpy()
    return larger


def downsampling_method(scale: float) -> str:
    """Return what, beside a layer, determines what `reduced` makes of it."""
    return f"scale {scale}, {DOWNSAMPLING.name}, Pillow {PIL.__version__}"


InputNormalization = Literal["zscore", "imagenet", "none"]
"""For imagenet the network itself, which knows its channels, shifts and scales values from 0 to 1."""

# A micrograph of one single grey value has no deviation to divide by; this is one step of 8-bit grey values.
SMALLEST_DEVIATION = 1 / 255


# Counting grey values takes 8 bytes a pixel: in parts of this many pixels, for micrographs of any size.
PIXELS_AT_A_TIME = 1 << 22


class GreyStatistics(NamedTuple):
    """Mean and standard deviation of the grey values, 0 to 1, of a whole micrograph."""

    mean: np.float32
    deviation: np.float32


def grey_statistics(micrograph: NDArray[np.uint8]) -> GreyStatistics:
    """Return the statistics of a micrograph, (height, width) of 0 to 255, which may be mapped into memory."""
    rows = max(1, PIXELS_AT_A_TIME // micrograph.shape[1])
    counts = np.zeros(256, dtype=np.int64)
    for top in range(0, len(micrograph), rows):
        counts += np.bincount(micrograph[top : top + rows].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = np.average(values, weights=counts)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    return GreyStatistics(np.float32(mean), np.float32(max(deviation, SMALLEST_DEVIATION)))


def normalize(grey: NDArray[np.float32], statistics: GreyStatistics) -> NDArray[np.float32]:
    """Shift and scale `grey`, values from 0 to 1, by the statistics of the whole micrograph it is from."""
    return (grey - statistics.mean) / statistics.deviation


def network_input(
    micrograph: NDArray[np.uint8],
    input_normalization: InputNormalization,
    statistics: GreyStatistics | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Return a micrograph as the network sees it: (1, height, width), at `scale` and normalised.

    A part of a micrograph is normalised by the `statistics` of the whole one, which are given then.
    """
    seen = downsample(micrograph, scale)
    grey = to_grey(seen)
    if input_normalization == "zscore":
        grey = normalize(grey, statistics or grey_statistics(seen))
    return torch.from_numpy(grey[np.newaxis])


def to_grey(micrograph: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the grey values 0 to 255 as 0 to 1."""
    return micrograph.astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class MaskedMicrographs:
    """Names of micrographs, the folder they lie in, and the folder with a mask of the same name for each."""

    images: Path
    masks: Path
    names: tuple[str, ...]

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return a micrograph and its mask, both (height, width); InputError where they do not fit together."""
        name = self.names[index]
        micrograph, mask = read_micrograph(self.images / name), read_mask(self.masks / name)
        if micrograph.shape != mask.shape:
            raise InputError(
                f"{self.masks / name}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its micrograph "
                f"{micrograph.shape[1]} x {micrograph.shape[0]}; rerun the stage rasterize_masks"
            )
        return micrograph, mask
