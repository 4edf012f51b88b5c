"""The information bar that microscopes write below a micrograph: a band with text, scale bar and logo."""

from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from microseg.micrographs.conversion import Grey

SMALLEST_BAR, LARGEST_BAR = 0.02, 0.3
"""Height of an information bar as a fraction of the image's."""
TOLERANCES = (0, 12)
"""How far the grey values of a background may be apart: not at all, and as far as JPEG moves them."""
BACKGROUND_FRACTION, EDGE_FRACTION = 0.5, 0.8
"""The fraction of background in every row, and in the rows right below the edge; above the edge it is less."""
FRAME = 3
"""Rows that a drawn line may take; below a frame some microscopes leave a row of the micrograph."""
CONTRAST = 64
"""Grey levels, of 256, that ink differs from the background at least."""
SMALLEST_LETTER = 4
"""Height in pixels."""
LETTERS_IN_LINE, LETTER_FRACTION = 5, 0.25
"""Letters of one height on one line of text: at least so many, and at least this fraction of all strokes."""


def find_bar(grey: Grey) -> int:
    """Return the height of the information bar at the bottom of a micrograph in pixels, 0 where there is none.

    A bar is a band of one grey value, less than a third of the micrograph high, with a straight edge over its
    whole width and text on it. Dark resin, saturated phases and black margins have no letters: strokes of the same
    height on the same line.

    Args:
        grey: (height, width) of 8- or 16-bit grey values.
    """
    height = len(grey)
    scale = 255 / max(1, int(grey.max())) if grey.dtype == np.uint16 else 1
    band = (grey[height - int(LARGEST_BAR * height) - 1 :] * np.float32(scale)).astype(np.int16)
    for tolerance in TOLERANCES:
        bar = _plain_rows(band, tolerance)
        if SMALLEST_BAR * height <= bar < len(band) and _has_text(band[len(band) - bar :]):
            return bar
    return 0


def _plain_rows(band: NDArray[np.int16], tolerance: int) -> int:
    """Return how many rows at the bottom are plain, below a straight edge; 0 where there is no such edge."""
    background = _most_common(band[-max(4, len(band) // 12) :])
    distance = np.abs(band - background)
    fractions = (distance <= tolerance).mean(axis=1)
    plain = fractions >= BACKGROUND_FRACTION
    plain[-FRAME:] = True
    # Lines across the whole bar do not end it.
    plain |= ndimage.binary_closing(plain, np.ones(FRAME + 1, bool))
    if plain.all():
        return 0
    edge = int(np.flatnonzero(~plain)[-1]) + 1
    straight = fractions[edge : edge + FRAME].mean() > EDGE_FRACTION
    if not straight or (distance[edge - 1] <= TOLERANCES[-1]).mean() > EDGE_FRACTION:
        return 0
    above = [_is_line(row, background) for row in band[max(0, edge - FRAME) : edge]]
    return len(band) - edge + len(list(takewhile(bool, reversed(above))))


def _is_line(row: NDArray[np.int16], background: int) -> bool:
    color = _most_common(row)
    near = (np.abs(row - color) <= TOLERANCES[-1]).mean()
    return bool(abs(color - background) > CONTRAST and near > EDGE_FRACTION)


def _most_common(values: NDArray[np.int16]) -> int:
    return int(np.bincount(values.ravel()).argmax())


def _has_text(bar: NDArray[np.int16]) -> bool:
    """Return whether strokes of one height stand on one line, as letters and digits do."""
    strokes, _ = ndimage.label(np.abs(bar - _most_common(bar)) > CONTRAST)
    rows = [box[0] for box in ndimage.find_objects(strokes)]
    sizes = [(one.stop, one.stop - one.start) for one in rows]
    letters = np.array([size for size in sizes if SMALLEST_LETTER <= size[1] < len(bar)]).reshape(-1, 2)
    near = [int((np.abs(letters - letter) <= 1).all(axis=1).sum()) for letter in np.unique(letters, axis=0)]
    return max(near, default=0) >= max(LETTERS_IN_LINE, LETTER_FRACTION * len(letters))
