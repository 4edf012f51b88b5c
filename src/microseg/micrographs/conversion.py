"""Converting images as microscopes and people save them into the 8-bit grey micrographs of the pipeline.

Color becomes grey by `skimage.color.rgb2gray` (Rec. 709 luma), as in the study; transparency is ignored. 8-bit
grey values stay as they are. Those of 16-bit files are scaled, all of a set alike, so that its micrographs keep
one brightness: the 8 highest of the bits in use are kept, and 12-bit recordings do not turn black. Where the
values of the set fill less than half of that range, such as 30,000 to 34,000, they are stretched over all of it. A
few hot pixels do not count; they saturate.

Files of 16 bits may hold values of 8, 12 or 16. Each of these depths has a scale of its own, so that recordings of
another depth in the same folder change nothing for the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray

from microseg.common.errors import InputError
from microseg.micrographs.decoding import StoredImage, read_stored

LARGEST_SATURATED_FRACTION = Fraction(1, 10_000)
"""The fraction of 16-bit pixels that may be too bright, or too dark, for the scale of the others."""
DEPTHS = (8, 12, 16)
"""The bits of the values in 16-bit files. A micrograph that uses fewer is a dark one of the next depth."""
SMALLEST_FILL = 0.5
"""Values that fill a smaller fraction of the bits in use are stretched."""
PIXELS_AT_A_TIME = 1 << 17
"""Limits memory: color takes 40 bytes a pixel while it is converted, and counting 8."""

Grey = NDArray[np.uint8] | NDArray[np.uint16]
WholeNumber = TypeVar("WholeNumber", np.uint8, np.uint16)


def read_grey(path: Path) -> Grey:
    """Read any accepted image as grey values (height, width): uint8, or uint16 for those of more than 8 bits.

    Raises:
        InputError: as for `read_stored`, or its values are not whole numbers of 16 bits at most.
    """
    stored = read_stored(path)
    if stored.values.dtype.kind not in "biu" or stored.values.dtype.itemsize > 2:
        raise InputError(
            f"{path}: its pixels are of the type {stored.values.dtype}; save it with 8 or 16 bits, grey or RGB"
        )
    return to_grey(stored)


def to_grey(stored: StoredImage) -> Grey:
    """Return the grey values, (height, width), that an image shows.

    Of signed 16-bit values those below 0 become 0 where they are as rare as hot pixels; else the scale begins at
    -32,768.
    """
    values = stored.values
    if stored.palette is not None:
        values = rgb_to_grey(stored.palette[np.newaxis])[0][values]
    if values.dtype.kind == "i":
        negative = int(np.count_nonzero(values < 0)) > values.size * LARGEST_SATURATED_FRACTION
        values = np.subtract(values, np.iinfo(values.dtype).min if negative else 0, dtype=np.int32).clip(0)
        values = values.astype(stored.values.dtype.str.replace("i", "u"))
    if values.ndim == 3:
        values = rgb_to_grey(values[..., :3]) if values.shape[2] > 2 else values[..., 0]
    if values.dtype == bool:
        values = values.astype(np.uint8)
    largest = values.dtype.type(2**stored.bits - 1)
    if stored.white_is_zero:
        values = largest - values
    if stored.bits < 8 and stored.palette is None:
        values = values * (np.uint8(255) // largest)
    grey: Grey = values.astype(values.dtype.newbyteorder("="), copy=False)
    return grey


def rgb_to_grey(rgb: NDArray[WholeNumber]) -> NDArray[WholeNumber]:
    """Return the luma of a color image, (height, width, 3) of 8 or 16 bits, as (height, width) of as many."""
    grey: NDArray[WholeNumber] = np.empty(rgb.shape[:2], rgb.dtype.newbyteorder("="))
    for rows in _chunks(rgb):
        luma: NDArray[np.float64] = rgb2gray(rgb[rows])
        grey[rows] = np.rint(luma * np.iinfo(rgb.dtype).max)
    return grey


def _chunks(image: NDArray[Any]) -> Iterator[slice]:
    rows = max(1, PIXELS_AT_A_TIME // max(1, image.shape[1]))
    return (slice(top, top + rows) for top in range(0, len(image), rows))


def count_values(grey: Grey) -> NDArray[np.int64]:
    """Return how many pixels have each of the 65,536 values."""
    counts = np.zeros(2**16, np.int64)
    for rows in _chunks(grey):
        counts += np.bincount(grey[rows].ravel(), minlength=2**16)
    return counts


@dataclass(frozen=True)
class Scale:
    """The brightness scale of 16-bit micrographs of one depth."""

    low: int
    high: int
    """The values that become black and white."""
    saturated: int
    """How many pixels are darker or brighter; they become black or white too."""
    table: NDArray[np.uint8]
    """The 8-bit grey value of each of the 65,536 values."""


class Scales:
    """The brightness scales of a set of 16-bit micrographs, from the counts of their values."""

    def __init__(self) -> None:
        self._counts: dict[int, NDArray[np.int64]] = {}

    def add(self, counts: NDArray[np.int64]) -> int:
        """Add the values of one micrograph, counted by `count_values`, and return its depth."""
        depth = depth_of(counts)
        self._counts[depth] = self._counts.get(depth, 0) + counts
        return depth

    def result(self) -> dict[int, Scale]:
        """Return the scale of each depth that the set has."""
        return {depth: _scale(counts) for depth, counts in sorted(self._counts.items())}


def depth_of(counts: NDArray[np.int64]) -> int:
    """Return the depth, one of DEPTHS, of a micrograph with these counts of values."""
    return next(depth for depth in DEPTHS if _bits_in_use(counts) <= depth)


def _bits_in_use(counts: NDArray[np.int64]) -> int:
    """Return the bits, 8 to 16, that suffice for all but one in ten thousand of the pixels counted."""
    allowed = counts.sum() * LARGEST_SATURATED_FRACTION
    return next(bits for bits in range(8, 17) if int(counts[2**bits :].sum()) <= allowed)


def _scale(counts: NDArray[np.int64]) -> Scale:
    bits = _bits_in_use(counts)
    values = np.arange(2**16)
    below = np.cumsum(counts)
    few = int(below[-1] * LARGEST_SATURATED_FRACTION)
    low, high = int(np.searchsorted(below, few, "right")), int(np.searchsorted(below, below[-1] - few))
    if bits > 8 and 0 < high - low < SMALLEST_FILL * 2**bits:
        table = np.rint((values - low) * (255 / (high - low)))
    else:
        low, high, table = 0, 2**bits - 1, values >> (bits - 8)
    saturated = int(counts[:low].sum() + counts[high + 1 :].sum())
    return Scale(low, high, saturated, table.clip(0, 255).astype(np.uint8))


def to_8_bit(grey: Grey, scale: Scale | None) -> NDArray[np.uint8]:
    """Return 16-bit grey values by the scale of their depth; 8-bit values, which need none, stay."""
    return grey.astype(np.uint8, copy=False) if scale is None else scale.table[grey]
