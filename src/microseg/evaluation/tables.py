"""The tables of an evaluation: a row for each micrograph, each island, each class of islands, each threshold."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from microseg.evaluation.intervals import Estimate, estimate_fraction
from microseg.evaluation.islands import FOUND_IOU, IOU_THRESHOLDS, pool
from microseg.evaluation.metrics import MeasuredMicrograph
from microseg.evaluation.scores import MeasuredImage

CLASSES: dict[str, tuple[int, ...]] = {"area": (0, 100, 300, 1000, 3000), "border_distance": (0, 1, 16, 64, 128)}
"""The lower ends, in pixels, of the classes of a property of islands; the last class has no upper end."""

IMAGE_TABLE_HEADER = (
    *("image", "method", "iou", "dice", "precision", "recall"),
    *("true_positives", "false_positives", "false_negatives", "foreground_fraction", "border_distance"),
    *("group", "islands_found", "islands_missed", "islands_invented", "islands_covered"),
    *("surface_dice", "hausdorff95", "area_fraction_error", "points", "points_found"),
)
"""`islands_covered` is the sum of the IoU of the islands found; distances are in pixels."""


def image_table(measured: Iterable[MeasuredMicrograph]) -> Iterator[tuple[object, ...]]:
    """Yield a row of IMAGE_TABLE_HEADER for each micrograph and method; what is not defined is left empty."""
    for one in measured:
        distance = one.pixels.border_distance
        for method, scores in one.pixels.scores.items():
            agreement = one.agreements[method]
            islands, boundary = agreement.islands.counts(), agreement.boundary
            yield (
                *(one.pixels.image, method, scores.iou, scores.dice, scores.precision, scores.recall),
                *(scores.true_positives, scores.false_positives, scores.false_negatives),
                *(one.pixels.foreground_fraction, "" if math.isnan(distance) else round(distance, 3), one.group),
                *(islands.true_positives, islands.false_negatives, islands.false_positives),
                *(agreement.islands.covered, boundary.surface_dice, round(boundary.hausdorff95, 3)),
                *(agreement.area_fraction_error, one.points, agreement.points_found),
            )


def ranked_iou(measured: Sequence[MeasuredImage], methods: Sequence[str]) -> Iterator[tuple[float, ...]]:
    """Yield the fraction of micrographs so far, then the IoU of each method from the worst micrograph to the best.

    The methods are ranked apart from each other: a row is a rank, not a micrograph.
    """
    ranks = [sorted(one.scores[method].iou for one in measured) for method in methods]
    for number, iou in enumerate(zip(*ranks, strict=True), start=1):
        yield (number / len(measured), *iou)


ISLAND_TABLE_HEADER = ("image", "method", "area", "border_distance", "iou", "found")


def island_table(measured: Iterable[MeasuredMicrograph]) -> Iterator[tuple[object, ...]]:
    """Yield a row of ISLAND_TABLE_HEADER for each annotated island and method; `found` is 0 or 1."""
    for one in measured:
        for method, agreement in one.agreements.items():
            for island in agreement.islands.annotated:
                found = int(island.iou > FOUND_IOU)
                yield (one.pixels.image, method, island.area, island.border_distance, island.iou, found)


@dataclass(frozen=True)
class IslandClass:
    """The annotated islands whose area, or distance from the border, in pixels is at least `low`, below `high`.

    Attributes:
        high: None for no upper end.
        islands: how many there are, at least 1.
        recall: the fraction of them that is found, with its interval over micrographs or groups.
    """

    method: str
    of: str
    low: int
    high: int | None
    islands: int
    recall: Estimate

    @property
    def label(self) -> str:
        """The class in a few characters, such as "100 to 299"."""
        if self.high is None:
            return f"{self.low} and more"
        return str(self.low) if self.high == self.low + 1 else f"{self.low} to {self.high - 1}"


def island_classes(measured: Sequence[MeasuredMicrograph], methods: Sequence[str]) -> Iterator[IslandClass]:
    """Yield the recall of the islands of each class in CLASSES; a class without islands is omitted."""
    groups = [one.group for one in measured]
    for method in methods:
        annotated = [one.agreements[method].islands.annotated for one in measured]
        for of, starts in CLASSES.items():
            for low, high in zip(starts, (*starts[1:], None), strict=True):
                inside = [
                    [one for one in islands if low <= getattr(one, of) < (math.inf if high is None else high)]
                    for islands in annotated
                ]
                count = [len(islands) for islands in inside]
                if any(count):
                    found = [sum(one.iou > FOUND_IOU for one in islands) for islands in inside]
                    recall = estimate_fraction(found, count, groups=groups)
                    yield IslandClass(method, of, low, high, sum(count), recall)


CLASS_TABLE_HEADER = ("method", "of", "pixels", "islands", "recall", "low", "high")


def class_table(classes: Iterable[IslandClass]) -> Iterator[tuple[object, ...]]:
    """Yield a row of CLASS_TABLE_HEADER for each class of islands."""
    for one in classes:
        yield (one.method, one.of, one.label, one.islands, one.recall.value, *(one.recall.bounds or ("", "")))


def f1_by_threshold(measured: Sequence[MeasuredMicrograph], methods: Sequence[str]) -> Iterator[tuple[float, ...]]:
    """Yield the F1 of all islands for each method, behind the IoU above which an island counts as found."""
    islands = [pool(one.agreements[method].islands for one in measured) for method in methods]
    for threshold in IOU_THRESHOLDS:
        yield (threshold, *(one.counts(threshold).dice for one in islands))
