"""The masks that a COCO file describes, by polygons or by run lengths.

COCO puts (0, 0) at the outer corner of the top left pixel, so that the centre of the first pixel is (0.5, 0.5). A
pixel belongs to a polygon where its centre lies inside; of a centre on the outline, the left and the upper edges
count as inside, so that polygons which share an edge share no pixel. Run lengths go down the columns, background
first: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Outline = NDArray[np.float64]

# Characters of a compressed run length carry 5 bits each, from "0" on; a sixth bit says that more follow.
FIRST_CHARACTER, BITS, MORE, NEGATIVE = ord("0"), 5, 0x20, 0x10


def fill_parts(parts: Sequence[Outline], height: int, width: int) -> Mask:
    """Unite the insides of outlines, (n, 2) of (x, y) in COCO's frame each; where one crosses itself, even-odd."""
    mask = np.zeros((height, width), np.bool_)
    for outline in parts:
        mask |= _fill(outline, height, width)
    return mask


def _fill(outline: Outline, height: int, width: int) -> Mask:
    """Fill one outline by its crossings with the lines through the pixel centres of each row.

    skimage.draw.polygon asks of every pixel about every edge, far too long where an outline follows the pixels.
    """
    ends = np.stack([outline, np.roll(outline, -1, axis=0)])
    # From top to bottom, whichever way it was drawn: an edge that two outlines share is rounded alike in both.
    ends = np.where(ends[0, :, 1] > ends[1, :, 1], ends[::-1].transpose(2, 0, 1), ends.transpose(2, 0, 1))
    (x, lower_x), (y, lower_y) = ends
    first_rows, end_rows = (np.ceil(np.clip(edge - 0.5, 0, height)).astype(int) for edge in (y, lower_y))
    crossed = end_rows - first_rows
    edges = np.repeat(np.arange(len(outline)), crossed)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first_rows[edges]
    crossings = x[edges] + (rows + 0.5 - y[edges]) * (lower_x - x)[edges] / (lower_y - y)[edges]
    # A crossing turns over every pixel whose centre is not to the left of it.
    columns = np.ceil(np.clip(crossings - 0.5, 0, width)).astype(int)
    turns = np.zeros((height, width + 1), np.uint8)
    np.add.at(turns, (rows, columns), 1)
    # Sums of more than 255 crossings start again at 0, which leaves them odd or even.
    inside: Mask = np.cumsum(turns, axis=1, dtype=np.uint8)[:, :width] % 2 == 1
    return inside


def mask_of_runs(counts: Sequence[int], height: int, width: int) -> Mask:
    """Return the mask of run lengths. ValueError where they do not fill it."""
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths of {sum(counts)} pixels for a mask of {height * width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def runs_of_text(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed form. ValueError where the text is none."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - FIRST_CHARACTER
        if not 0 <= code < 2 * MORE:
            raise ValueError(f"{character!r} in compressed run lengths")
        value |= (code & (MORE - 1)) << shift
        shift += BITS
        if code & MORE:
            continue
        if code & NEGATIVE:
            value -= 1 << shift
        # From the fourth on, it is the difference to the run before the last that is written.
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that break off")
    return counts
