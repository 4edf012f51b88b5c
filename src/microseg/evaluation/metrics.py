"""The metrics of one micrograph and of a set of them, with 95 % intervals."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from microseg.common.errors import InputError
from microseg.evaluation.intervals import (
    CONFIDENCE,
    FRACTION_DIFFERENCE,
    NOT_NEGATIVE,
    Estimate,
    estimate,
    estimate_fraction,
    unit_numbers,
    wilcoxon_p,
)
from microseg.evaluation.islands import MatchedIslands, match_islands, pool
from microseg.evaluation.scores import (
    EXCELLENT_IOU,
    BoundaryAgreement,
    MeasuredImage,
    border_distance,
    compare_boundaries,
    correlations,
    score,
)
from microseg.micrographs.images import read_mask


@dataclass(frozen=True)
class Subject:
    """A micrograph to measure: its group, "" for none, and a point (x, y) in pixels for each annotated island."""

    image: str
    group: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Agreement:
    """How one predicted mask agrees with the annotated one in more than single pixels.

    Attributes:
        area_fraction_error: predicted minus annotated fraction of the micrograph that is foreground, -1 to 1.
        points_found: how many of the annotated points are in the predicted mask.
    """

    islands: MatchedIslands
    boundary: BoundaryAgreement
    area_fraction_error: float
    points_found: int


@dataclass(frozen=True)
class MeasuredMicrograph:
    """All measurements of one micrograph, for each method."""

    pixels: MeasuredImage
    group: str
    points: int
    """How many annotated points lie on the micrograph."""
    agreements: dict[str, Agreement]


def measure_micrograph(
    subject: Subject, masks: Path, predictions: Path, methods: Sequence[str]
) -> MeasuredMicrograph:
    """Measure one micrograph's masks in the folder `predictions`, one folder a method, against that in `masks`.

    Raises:
        InputError: a mask is missing, cannot be read, or has another size than its ground truth.
    """
    truth = read_mask(masks / subject.image)
    # Column and row of the pixels with a point; what lies outside the micrograph is omitted.
    points = np.rint(np.array(subject.points, dtype=np.float64).reshape(-1, 2)).astype(np.int64)
    points = points[((points >= 0) & (points < truth.shape[::-1])).all(axis=1)]
    scores, agreements = {}, {}
    for method in methods:
        path = predictions / method / subject.image
        prediction = read_mask(path)
        if prediction.shape != truth.shape:
            raise InputError(
                f"{path}: {prediction.shape} pixels, but the annotated mask has {truth.shape}; "
                "rerun predict and postprocess"
            )
        scores[method] = score(truth, prediction)
        agreements[method] = Agreement(
            islands=match_islands(truth, prediction),
            boundary=compare_boundaries(truth, prediction),
            area_fraction_error=float(prediction.mean() - truth.mean()),
            points_found=int(prediction[points[:, 1], points[:, 0]].sum()),
        )
    pixels = MeasuredImage(subject.image, float(truth.mean()), border_distance(truth), scores)
    return MeasuredMicrograph(pixels, subject.group, len(points), agreements)


HEADLINES = (
    *("mean_iou", "mean_dice", "pooled_iou", "median_iou", "std_iou", "fraction_above_095", "fraction_zero"),
    *("island_f1", "panoptic_quality", "island_number_error", "points_found", "surface_dice", "hausdorff95"),
)
"""The scores of a method in the report, in this order; every score is in the table of scores."""


@dataclass(frozen=True)
class Summary:
    """All scores of one method on a number of micrographs."""

    scores: dict[str, Estimate]
    area_fraction_error: dict[str, Any]


def summarize_method(measured: Sequence[MeasuredMicrograph], method: str) -> Summary:
    """Summarize what was measured of one method on at least one micrograph.

    A score that is not defined is omitted. Intervals are over micrographs, or over their groups where
    there are any.
    """
    iou = [one.pixels.scores[method].iou for one in measured]
    plain: dict[str, float | int | None] = {
        "images": len(iou),
        "median_iou": float(np.median(iou)),
        "std_iou": float(np.std(iou)),
        **_pooled_islands(measured, method),
    }
    plain |= correlations([one.pixels for one in measured], method)
    scores = {name: Estimate(float(value)) for name, value in plain.items() if value is not None}
    scores |= _with_intervals(measured, method)
    errors = [one.agreements[method].area_fraction_error for one in measured]
    return Summary(scores, area_fraction_error(errors, [one.group for one in measured]))


def _pooled_islands(measured: Sequence[MeasuredMicrograph], method: str) -> dict[str, float | int]:
    islands = pool(one.agreements[method].islands for one in measured)
    counts = islands.counts()
    return {
        "islands_found": counts.true_positives,
        "islands_missed": counts.false_negatives,
        "islands_invented": counts.false_positives,
        "island_precision": counts.precision,
        "island_recall": counts.recall,
        "island_mean_f1": islands.mean_f1,
        "segmentation_quality": islands.segmentation_quality,
    }


def _with_intervals(measured: Sequence[MeasuredMicrograph], method: str) -> dict[str, Estimate]:
    groups = [one.group for one in measured]
    mean, fraction = partial(estimate, groups=groups), partial(estimate_fraction, groups=groups)
    pixels = [one.pixels.scores[method] for one in measured]
    iou = [one.iou for one in pixels]
    agreements = [one.agreements[method] for one in measured]
    islands = [one.islands.counts() for one in agreements]
    found = np.array([one.true_positives for one in islands])
    missed = np.array([one.false_negatives for one in islands])
    invented = np.array([one.false_positives for one in islands])
    scores = {
        "mean_iou": mean(iou),
        "mean_dice": mean([one.dice for one in pixels]),
        "mean_precision": mean([one.precision for one in pixels]),
        "mean_recall": mean([one.recall for one in pixels]),
        "pooled_iou": mean([one.true_positives for one in pixels], [one.union for one in pixels]),
        "fraction_above_095": fraction([one > EXCELLENT_IOU for one in iou]),
        "fraction_zero": fraction([one == 0 for one in iou]),
        "island_f1": mean(2 * found, 2 * found + missed + invented),
        "panoptic_quality": mean([one.islands.covered for one in agreements], found + (missed + invented) / 2),
        "island_number_error": mean(invented - missed, bounds=None),
        "surface_dice": mean([one.boundary.surface_dice for one in agreements]),
        "hausdorff95": mean([one.boundary.hausdorff95 for one in agreements], bounds=NOT_NEGATIVE),
    }
    points = [one.points for one in measured]
    if any(points):
        scores["points_found"] = mean([one.points_found for one in agreements], points)
    return scores


def area_fraction_error(errors: Sequence[float], groups: Sequence[str]) -> dict[str, Any]:
    """Describe predicted minus annotated area fractions of at least one micrograph, each with its group or "".

    Returns:
        `mean`, the bias; `micrographs` and `units`, the number of them and of their groups; and from three units
        on `interval95` of the bias, the `standard_deviation` s of single errors, and `limits_of_agreement`,
        between which 95 % of further single micrographs lie if errors are normal: of n micrographs without groups
        mean ± t(n - 1) s sqrt(1 + 1/n) (Bland and Altman, The Lancet 327:307, 1986, with the prediction interval
        of few). Where there are groups, t is that of their number, and the interval of the bias adds what they
        leave uncertain.
    """
    from scipy.stats import t

    bias = estimate(errors, groups=groups, bounds=None)
    units = int(unit_numbers(groups).max()) + 1
    described: dict[str, Any] = {"mean": bias.value, "micrographs": len(errors), "units": units}
    if bias.interval is None:
        return described
    std = float(np.std(errors, ddof=1))
    reach = math.hypot(float(t.ppf((1 + CONFIDENCE) / 2, units - 1)) * std, bias.interval.high - bias.value)
    return described | {
        "interval95": bias.bounds,
        "standard_deviation": std,
        "limits_of_agreement": [bias.value - reach, bias.value + reach],
    }


def headline_metrics(summaries: dict[str, Summary]) -> dict[str, dict[str, float]]:
    """Return mean IoU and F1 of islands of each method: what experiments are compared by, in a terminal."""
    return {
        method: {"mean_iou": summary.scores["mean_iou"].value, "f1": summary.scores["island_f1"].value}
        for method, summary in summaries.items()
    }


def report_of(measured: Sequence[MeasuredMicrograph], summaries: dict[str, Summary]) -> dict[str, dict[str, Any]]:
    """Return HEADLINES of each method and their paired difference, with intervals as lists [low, high]."""
    metrics: dict[str, dict[str, Any]] = {}
    for method, summary in summaries.items():
        headlines: dict[str, Any] = {}
        for name in HEADLINES:
            if name in summary.scores:
                headlines[name] = summary.scores[name].value
                if summary.scores[name].bounds is not None:
                    headlines[f"{name}_interval95"] = summary.scores[name].bounds
        metrics[method] = headlines | {"area_fraction_error": summary.area_fraction_error}
    first, second = summaries
    metrics[f"{first}_minus_{second}"] = _difference(measured, first, second)
    return metrics


def _difference(measured: Sequence[MeasuredMicrograph], first: str, second: str) -> dict[str, Any]:
    iou = [np.array([one.pixels.scores[method].iou for one in measured]) for method in (first, second)]
    groups = [one.group for one in measured]
    difference = estimate(iou[0] - iou[1], groups=groups, bounds=FRACTION_DIFFERENCE)
    described: dict[str, Any] = {"mean_iou": difference.value}
    if difference.bounds is not None:
        described["mean_iou_interval95"] = difference.bounds
    p_value = wilcoxon_p(iou[0], iou[1], groups)
    return described if p_value is None else described | {"wilcoxon_p": p_value}


SCORE_TABLE_HEADER = ("method", "score", "value", "low", "high")


def score_table(summaries: dict[str, Summary]) -> Iterator[tuple[object, ...]]:
    """Yield a row of SCORE_TABLE_HEADER for each method and score; no bounds where a score has no interval."""
    for method, summary in summaries.items():
        for name, one in summary.scores.items():
            yield (method, name, one.value, *(one.bounds or ("", "")))
