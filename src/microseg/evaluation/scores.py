"""How well predicted masks agree with the annotated ones, image by image and pooled."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.common.parallel import map_in_processes
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

    def _share(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return 1.0 if self.false_positives + self.false_negatives == 0 else 0.0

    @property
    def iou(self) -> float:
        """Intersection over union, TP / (TP + FP + FN), 0 to 1."""
        return self._share(self.true_positives, self.true_positives + self.false_positives + self.false_negatives)

    @property
    def dice(self) -> float:
        """Dice's coefficient, 2 TP / (2 TP + FP + FN), 0 to 1."""
        twice = 2 * self.true_positives
        return self._share(twice, twice + self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """Share of the predicted foreground that is annotated, TP / (TP + FP), 0 to 1."""
        return self._share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the annotated foreground that is predicted, TP / (TP + FN), 0 to 1."""
        return self._share(self.true_positives, self.true_positives + self.false_negatives)


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


def summarize(scores: Sequence[Scores]) -> dict[str, float | int]:
    """Summarize the scores of at least one image.

    Returns:
        `images`, their number; `mean_iou`, `median_iou` and `std_iou` (population) of the images' IoU;
        `pooled_iou` of all their pixels taken together; `share_above_095` and `share_zero`, the shares of images
        with an IoU above 0.95 and of 0; `mean_dice`, `mean_precision`, `mean_recall`.
    """
    iou = np.array([one.iou for one in scores])
    pooled = Scores(
        sum(one.true_positives for one in scores),
        sum(one.false_positives for one in scores),
        sum(one.false_negatives for one in scores),
    )
    return {
        "images": len(scores),
        "mean_iou": float(iou.mean()),
        "median_iou": float(np.median(iou)),
        "std_iou": float(iou.std()),
        "pooled_iou": pooled.iou,
        "share_above_095": float((iou > EXCELLENT_IOU).mean()),
        "share_zero": float((iou == 0).mean()),
        "mean_dice": float(np.mean([one.dice for one in scores])),
        "mean_precision": float(np.mean([one.precision for one in scores])),
        "mean_recall": float(np.mean([one.recall for one in scores])),
    }


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

    Pairs with a NaN are left out; with fewer than three pairs, or one series constant, there is no correlation.
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


def measure(
    images: Sequence[str], masks: Path, predictions: Path, methods: Sequence[str]
) -> Iterator[MeasuredImage]:
    """Score the predicted masks in the folder `predictions` (one folder a method) against those in `masks`.

    Raises:
        InputError: a mask is missing, cannot be read, or has another size than its truth.
    """
    yield from map_in_processes(partial(_measure, masks, predictions, methods), images, "measuring")


def _measure(masks: Path, predictions: Path, methods: Sequence[str], image: str) -> MeasuredImage:
    truth = read_mask(masks / image)
    scores = {}
    for method in methods:
        prediction = read_mask(predictions / method / image)
        if prediction.shape != truth.shape:
            raise InputError(
                f"{predictions / method / image}: {prediction.shape} pixels, but the annotated mask has "
                f"{truth.shape}; rerun predict and postprocess"
            )
        scores[method] = score(truth, prediction)
    return MeasuredImage(image, float(truth.mean()), border_distance(truth), scores)


def digest(images: Iterable[str], masks: Path) -> str:
    """Return a digest of the names and annotated masks of `images`: equal digests, equal ground truth."""
    content = hashlib.sha256()
    for image in sorted(images):
        content.update(image.encode())
        content.update(np.packbits(read_mask(masks / image)).tobytes())
    return content.hexdigest()[:16]


def metrics_of(measured: Sequence[MeasuredImage], methods: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Summarize the scores of each method, and how they go with two properties of the annotated masks.

    `iou_and_foreground_fraction` and `iou_and_border_distance` are Spearman rank correlations, left out where they
    are not defined.
    """
    fractions = [one.foreground_fraction for one in measured]
    distances = [one.border_distance for one in measured]
    metrics = {}
    for method in methods:
        iou = [one.scores[method].iou for one in measured]
        correlations = {
            "iou_and_foreground_fraction": rank_correlation(iou, fractions),
            "iou_and_border_distance": rank_correlation(iou, distances),
        }
        metrics[method] = summarize([one.scores[method] for one in measured]) | {
            name: value for name, value in correlations.items() if value is not None
        }
    return metrics


IMAGE_TABLE_HEADER = (
    *("image", "method", "iou", "dice", "precision", "recall"),
    *("true_positives", "false_positives", "false_negatives", "foreground_fraction", "border_distance"),
)


def image_table(measured: Iterable[MeasuredImage]) -> Iterator[tuple[object, ...]]:
    """Yield a row of IMAGE_TABLE_HEADER for each micrograph and method."""
    for one in measured:
        for method, scores in one.scores.items():
            quality = (scores.iou, scores.dice, scores.precision, scores.recall)
            counts = (scores.true_positives, scores.false_positives, scores.false_negatives)
            # Where nothing is annotated there is no distance: an empty field, as tables have it.
            distance = "" if math.isnan(one.border_distance) else round(one.border_distance, 3)
            yield (one.image, method, *quality, *counts, one.foreground_fraction, distance)


def ranked_iou(measured: Sequence[MeasuredImage], methods: Sequence[str]) -> Iterator[tuple[float, ...]]:
    """Yield the IoU of each method from the worst micrograph to the best, behind the share of micrographs so far.

    The methods are ranked apart from each other: a row is a rank, not a micrograph.
    """
    ranks = [sorted(one.scores[method].iou for one in measured) for method in methods]
    for number, iou in enumerate(zip(*ranks, strict=True), start=1):
        yield (number / len(measured), *iou)
