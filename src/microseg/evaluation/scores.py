"""How well two masks agree: pixels, outlines, and the summary over images."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microseg.micrographs.images import read_mask

EXCELLENT_IOU = 0.95
"""The study counts the images above this value ("58 % had more")."""


@dataclass(frozen=True)
class Scores:
    """Pixel counts of one image and what follows from them.

    Where both masks are empty the prediction is perfect: IoU, Dice, precision and recall are 1. Where only one is
    empty all of them are 0.
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    def _ratio(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return 1.0 if self.false_positives + self.false_negatives == 0 else 0.0

    @property
    def union(self) -> int:
        """How many are in one of the two masks at least."""
        return self.true_positives + self.false_positives + self.false_negatives

    @property
    def iou(self) -> float:
        """Intersection over union, TP / (TP + FP + FN), 0 to 1."""
        return self._ratio(self.true_positives, self.union)

    @property
    def dice(self) -> float:
        """Dice's coefficient, 2 TP / (2 TP + FP + FN), 0 to 1."""
        twice = 2 * self.true_positives
        return self._ratio(twice, twice + self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """Fraction of the predicted foreground that is annotated, TP / (TP + FP), 0 to 1."""
        return self._ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Fraction of the annotated foreground that is predicted, TP / (TP + FN), 0 to 1."""
        return self._ratio(self.true_positives, self.true_positives + self.false_negatives)


def score(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Scores:
    """Count the pixels of two masks of one shape; ValueError where the shapes differ."""
    if truth.shape != prediction.shape:
        raise ValueError(f"the masks have different shapes: {truth.shape} and {prediction.shape}")
    truth, prediction = truth.astype(bool), prediction.astype(bool)
    true_positives = int(np.count_nonzero(truth & prediction))
    return Scores(
        true_positives=true_positives,
        false_positives=int(np.count_nonzero(prediction)) - true_positives,
        false_negatives=int(np.count_nonzero(truth)) - true_positives,
    )


def calculate_iou(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks of one shape, 0 to 1; 1 where both are empty."""
    return score(truth, prediction).iou


def border_distance(mask: NDArray[np.bool_]) -> float:
    """Return the mean distance of the foreground from the nearest image border in pixels, at least 0; NaN if none.

    A pixel of the outermost row or column is at distance 0.
    """
    rows, columns = np.nonzero(mask)
    if not rows.size:
        return math.nan
    height, width = mask.shape
    nearest = np.minimum.reduce([rows, height - 1 - rows, columns, width - 1 - columns])
    return float(nearest.mean())


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation of two series, -1 to 1, or None where it is not defined.

    Pairs with a NaN are omitted; with fewer than three pairs, or one series constant, there is no correlation.
    """
    from scipy.stats import spearmanr  # a second to import, and only needed once

    pairs = np.array([pair for pair in zip(first, second, strict=True) if not np.isnan(pair).any()])
    if len(pairs) < 3 or np.ptp(pairs, axis=0).min() == 0:
        return None
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


@dataclass(frozen=True)
class MeasuredImage:
    """One micrograph's scores, method by method, beside the properties of its annotated mask."""

    image: str
    foreground_fraction: float
    border_distance: float
    scores: dict[str, Scores]


def digest(images: Iterable[str], masks: Path) -> str:
    """Return a digest of the names and annotated masks of `images`: equal digests, equal ground truth."""
    content = hashlib.sha256()
    for image in sorted(images):
        content.update(image.encode())
        content.update(np.packbits(read_mask(masks / image)).tobytes())
    return content.hexdigest()[:16]


def correlations(measured: Sequence[MeasuredImage], method: str) -> dict[str, float | None]:
    """Return Spearman's rank correlations of the IoU with properties of the masks, None if undefined."""
    iou = [one.scores[method].iou for one in measured]
    return {
        "iou_and_foreground_fraction": rank_correlation(iou, [one.foreground_fraction for one in measured]),
        "iou_and_border_distance": rank_correlation(iou, [one.border_distance for one in measured]),
    }


TOLERANCE = 2
"""Pixels by which an outline may be off and still count as right."""
PERCENTILE = 95


@dataclass(frozen=True)
class BoundaryAgreement:
    """How well two outlines agree.

    Attributes:
        surface_dice: fraction of both outlines within TOLERANCE of the other one, 0 to 1 (Nikolov et al.,
            Journal of Medical Internet Research 23:e26151, 2021).
        hausdorff95: the distance in pixels that 95 % of either outline stay within, the larger of both directions.

    Where only one mask has an outline, they are 0 and the diagonal of the micrograph, so that predicting nothing
    gains nothing. Two masks without outlines that are the same agree: 1 and 0.
    """

    surface_dice: float
    hausdorff95: float


def compare_boundaries(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> BoundaryAgreement:
    """Measure how far the outlines of two masks of one shape (height, width) lie apart."""
    outlines = outline(truth), outline(prediction)
    sizes = [len(points) for points in outlines]
    if not all(sizes):
        same = np.array_equal(truth, prediction)
        return BoundaryAgreement(1.0, 0.0) if same else BoundaryAgreement(0.0, math.hypot(*truth.shape))
    from scipy.spatial import KDTree  # not at the top: the program's --help comes by here

    annotated, predicted = (KDTree(points) for points in outlines)
    to_predicted, to_annotated = predicted.query(outlines[0])[0], annotated.query(outlines[1])[0]
    within = np.count_nonzero(to_predicted <= TOLERANCE) + np.count_nonzero(to_annotated <= TOLERANCE)
    farthest = max(np.percentile(to_predicted, PERCENTILE), np.percentile(to_annotated, PERCENTILE))
    return BoundaryAgreement(float(within / sum(sizes)), float(farthest))


def outline(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return row and column, (n, 2), of the foreground pixels of which one of the four neighbours is background.

    The border of the micrograph is no outline: where it cuts an island, every mask that reaches it agrees.
    """
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside)
