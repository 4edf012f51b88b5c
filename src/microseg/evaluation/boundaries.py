"""How far the outlines of two masks lie apart."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 2
"""Pixels by which an outline may be off and still count as right."""
PERCENTILE = 95


@dataclass(frozen=True)
class BoundaryAgreement:
    """How well two outlines agree.

    Attributes:
        surface_dice: share of both outlines that lies within TOLERANCE of the other one, 0 to 1 (Nikolov et al.,
            Journal of Medical Internet Research 23:e26151, 2021); 1 where both masks are empty, 0 where one is.
        hausdorff95: the distance in pixels that 95 % of either outline stay within, the larger of both directions;
            0 where both masks are empty, NaN where one is: there is no distance to nothing.
    """

    surface_dice: float
    hausdorff95: float


def compare_boundaries(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> BoundaryAgreement:
    """Measure how far the outlines of two masks of one shape (height, width) lie apart."""
    outlines = outline(truth), outline(prediction)
    sizes = [len(points) for points in outlines]
    if not all(sizes):
        return BoundaryAgreement(0.0, math.nan) if any(sizes) else BoundaryAgreement(1.0, 0.0)
    from scipy.spatial import KDTree  # not at the top: the program's --help comes by here

    annotated, predicted = (KDTree(points) for points in outlines)
    to_predicted, to_annotated = predicted.query(outlines[0])[0], annotated.query(outlines[1])[0]
    within = np.count_nonzero(to_predicted <= TOLERANCE) + np.count_nonzero(to_annotated <= TOLERANCE)
    farthest = max(np.percentile(to_predicted, PERCENTILE), np.percentile(to_annotated, PERCENTILE))
    return BoundaryAgreement(float(within / sum(sizes)), float(farthest))


def outline(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return row and column, (n, 2), of the foreground pixels of which one of the four neighbours is outside.

    Outside is the background, and what lies beyond the border of the micrograph.
    """
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside)
