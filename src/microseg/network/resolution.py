"""The resolution that a network works at: micrographs reduced before it sees them, logits enlarged afterwards.

A network that sees larger pixels sees more of the micrograph around each of them, for the same work (as the
low-resolution stage of nnU-Net, Isensee et al., Nature Methods 18:203, 2021). What it says is brought back to the
micrograph's own size, at which it is measured.
"""

from collections.abc import Sequence

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

# Nearly the mean of the pixels that a larger one covers, without the jumps of half a pixel that a plain mean makes
# where the scale is no whole number. Pillow computes it in whole numbers, which are the same on every processor.
REDUCING = Image.Resampling.HAMMING


def reduced_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the (height, width), 1 at least, at which a network sees a micrograph of `size`."""
    height, width = (max(1, round(side / scale)) for side in size)
    return height, width


def reduced(layer: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return a layer, (height, width) of 0 to 255, with pixels `scale` times as wide; at scale 1 as it is.

    For a micrograph these are antialiased grey values, for 255 times a mask 255 times the share of foreground.
    """
    return resized(layer, reduced_size(layer.shape[:2], scale))


def resized(layer: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a layer, (height, width) of 0 to 255, with another size: antialiased, or interpolated linearly."""
    if layer.shape == size:
        return layer
    height, width = size
    resampling = REDUCING if height < layer.shape[0] or width < layer.shape[1] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(layer).resize((width, height), resampling))


def enlarged(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Return logits, (batch, 1, height, width), interpolated linearly to the (height, width) `size`, as float32.

    Where that is their size already they are returned as they are.
    """
    height, width = size
    if logits.shape[-2:] == (height, width):
        return logits
    return functional.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)


def enlarged_array(logits: NDArray[np.floating], size: Sequence[int]) -> NDArray[np.floating]:
    """Do the same with the logits of one micrograph, (height, width), in main memory."""
    larger: NDArray[np.floating] = enlarged(torch.from_numpy(logits)[None, None], size)[0, 0].numpy()
    return larger


def reduction(scale: float) -> str:
    """Return what, beside a layer, determines what `reduced` makes of it."""
    return f"scale {scale}, {REDUCING.name}, Pillow {PIL.__version__}"
