"""Masks and label images as people save them: the stored value of a pixel counts, not how it is shown.

A color table, an inverting look-up table and the TIFF interpretation WhiteIsZero only change how an image is
shown: ImageJ shows the 255 of an island black, QuPath the 0 of the background white. Colors that are stored as
such are values of their own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.micrographs.decoding import read_stored

FIRST_COLOR = 2**24
"""Colors are this number plus 65,536 red + 256 green + blue, and so distinct from grey values."""

HALF_BRIGHT = 128


@dataclass(frozen=True)
class LabelImage:
    """The values of an image: whole numbers (height, width), >= 0, and whether viewers show 0 bright."""

    values: NDArray[Any]
    shows_zero_bright: bool

    def counts(self) -> dict[str, int]:
        """Return how many pixels have each value; numbers are called 0, 1, ..., colors #rrggbb."""
        values, numbers = np.unique(self.values, return_counts=True)
        names = [str(value) if value < FIRST_COLOR else f"#{value - FIRST_COLOR:06x}" for value in values.tolist()]
        return dict(zip(names, numbers.tolist(), strict=True))

    def mask(self, names: frozenset[str]) -> NDArray[np.bool_]:
        """Return where the image has one of the values that `counts` calls so, (height, width)."""
        values = [FIRST_COLOR + int(name[1:], 16) if name.startswith("#") else int(name) for name in names]
        return np.isin(self.values, values)


def read_labels(path: Path) -> LabelImage:
    """Read a mask or label image.

    Raises:
        InputError: as for `read_stored`, or the values are not whole numbers of 0 to 16,777,215, are colors of
            more than 8 bits, or contradict the transparency.
    """
    stored = read_stored(path)
    channels = stored.values.reshape(*stored.values.shape[:2], -1)
    values = channels[..., 0]
    if channels.shape[2] > 2 and (channels[..., :3] != channels[..., :1]).any():
        if channels.dtype != np.uint8:
            raise InputError(f"{path}: its colors have {stored.bits} bits; save it with 8 bits")
        red, green, blue = (channels[..., channel].astype(np.int32) for channel in range(3))
        is_grey = (red == green) & (green == blue)
        values = np.where(is_grey, red, FIRST_COLOR + (red << 16) + (green << 8) + blue)
    elif values.dtype not in (np.uint8, np.uint16):
        values = values.astype(np.int32)
        if not np.array_equal(values, channels[..., 0]) or values.min() < 0 or values.max() >= FIRST_COLOR:
            raise InputError(
                f"{path}: holds values from {channels.min():g} to {channels.max():g}; a mask or label image has "
                "whole numbers from 0 on, save it with 8 or 16 bits"
            )
    if channels.shape[2] in (2, 4):
        opacity = channels[..., -1]
        if opacity.min() < opacity.max() and not np.array_equal(opacity == 0, values == 0):
            raise InputError(
                f"{path}: transparency and color contradict each other, so the foreground is ambiguous; save the "
                "mask without transparency (flatten the image)"
            )
    is_bright = stored.palette is not None and int(stored.palette[0].max()) >= HALF_BRIGHT
    return LabelImage(values, is_bright or stored.white_is_zero)
