"""The part of a micrograph that shows the specimen: a mosaic may lie on a black canvas, which is no material."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from microseg.common.errors import InputError
from microseg.micrographs.conversion import Grey, read_grey
from microseg.micrographs.decoding import SUFFIXES

AUTO, WHOLE = "auto", "all"

SMALLEST_CANVAS = 0.02
"""As a fraction of the micrograph."""
DARKEST = 1 / 8
"""The grey value of a canvas, at most, as a fraction of the brightest of the micrograph."""
SOLID = 20
"""A canvas has a black square of this part, one in so many, of the shorter side; a dark phase has none."""

ValidArea = NDArray[np.bool_]


def valid_area(grey: Grey, choice: str, name: str) -> ValidArea | None:
    """Return where a micrograph shows the specimen, (height, width); None where it does everywhere.

    Args:
        grey: (height, width), without the information bar, as stored: before 16 bits become 8.
        choice: AUTO leaves a canvas out, WHOLE nothing; else a mask of all micrographs, or a folder of masks with
            their names, which are 0 outside the specimen.
        name: the micrograph, as the results call it.

    Raises:
        InputError: the folder has no usable mask for it.
    """
    if choice == WHOLE:
        return None
    if choice == AUTO:
        canvas = find_canvas(grey)
        return None if canvas is None else ~canvas
    masks = [Path(choice), *(Path(choice, name).with_suffix(suffix) for suffix in sorted(SUFFIXES))]
    found = [mask for mask in masks if mask.is_file()]
    if len(found) != 1:
        raise InputError(f"{choice}: {len(found) or 'no'} masks of the valid area of {name}; put one there")
    mask = read_grey(found[0])[: len(grey)] != 0
    if mask.shape != grey.shape or not mask.any():
        raise InputError(
            f"{found[0]}: no valid area of {name}; it needs the same size, and values above 0 in the specimen"
        )
    return None if mask.all() else mask


def find_canvas(grey: Grey) -> NDArray[np.bool_] | None:
    """Return the canvas: solid areas of one dark grey value that reach the border; None where there is none.

    The same within the outline of the specimen, such as pores, is no canvas.
    """
    value = np.bincount(_border(grey)).argmax()
    if value > DARKEST * int(grey.max()):
        return None
    black = grey == value
    if np.count_nonzero(black) < SMALLEST_CANVAS * black.size:
        return None
    areas, _ = ndimage.label(black)
    solid = ndimage.minimum_filter(black, max(2, min(black.shape) // SOLID), mode="constant", cval=1)
    canvas: NDArray[np.bool_] = black & np.isin(areas, np.intersect1d(areas[solid], _border(areas)))
    covered = np.count_nonzero(canvas)
    return canvas if SMALLEST_CANVAS * canvas.size <= covered < canvas.size else None


def _border(image: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def bounding_box(valid: ValidArea) -> tuple[slice, slice]:
    """Return the rows and columns that hold all of a valid area, which is not empty."""
    rows, columns = (np.flatnonzero(valid.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
