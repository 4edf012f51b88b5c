"""The information bar at the bottom of a micrograph: where it begins, so that it is not measured as material."""

import numpy as np
from numpy.typing import NDArray

from microseg.micrographs.conversion import Grey

# A row of a bar is for the most part of one single grey value; noise spreads those of a specimen.
UNIFORM_SHARE = 0.5
SMALLEST_SHARE, LARGEST_SHARE = 0.02, 0.3
"""How much of a micrograph's height a bar takes, at least and at most."""


def find_bar(grey: Grey) -> int:
    """Return the height of the information bar at the bottom of a micrograph in pixels, 0 where there is none.

    A bar is a band of rows of which each is at least half of one grey value, with something written on it, and not
    a third of the micrograph high. Of the band as a whole one grey value is the background.

    Args:
        grey: (height, width) of 8- or 16-bit grey values.
    """
    height, width = grey.shape
    limit = int(LARGEST_SHARE * height)
    shares = np.array([np.bincount(row).max() / width for row in grey[height - limit - 1 :][::-1]])
    bar = int(np.argmax(shares < UNIFORM_SHARE)) if (shares < UNIFORM_SHARE).any() else 0
    if bar < SMALLEST_SHARE * height:
        return 0
    return bar if _has_text(grey[height - bar :]) else 0


def _has_text(band: NDArray[np.integer]) -> bool:
    """Whether some rows of a band are written on, and its background is of one grey value."""
    background = np.bincount(band.ravel()).argmax()
    written = (band != background).mean(axis=1)
    return bool((written > 0).any() and (written < UNIFORM_SHARE).mean() > UNIFORM_SHARE)
