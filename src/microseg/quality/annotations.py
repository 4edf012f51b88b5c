"""What the table of annotations says, and what in it is wrong or odd."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from microseg.annotations import ImageMask, UnusableLine, most_annotated
from microseg.quality.findings import NO_IMAGE, UNUSABLE_LINE, Finding, count

MOST_ANNOTATED = 15
KINDS = (UNUSABLE_LINE, NO_IMAGE)

Sizes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class CheckedAnnotations:
    """The usable annotations, all findings, and the images that no annotation names."""

    masks: list[ImageMask]
    findings: list[Finding]
    unannotated: list[str]


def check_annotations(
    masks: Sequence[ImageMask], unusable: Sequence[UnusableLine], sizes: Sizes
) -> CheckedAnnotations:
    """Look through all annotations.

    Args:
        masks: the usable lines of the table.
        unusable: the other lines.
        sizes: height and width of every image there is.
    """
    findings = [Finding(UNUSABLE_LINE, one.image, one.line, one.reason) for one in unusable]
    findings += [
        Finding(NO_IMAGE, mask.img_name, polygon.line, f"{mask.img_name} is annotated, but there is no such image")
        for mask in masks
        if mask.img_name not in sizes
        for polygon in mask.polygons
    ]
    usable = [mask for mask in masks if mask.img_name in sizes]
    named = {mask.img_name for mask in masks}
    return CheckedAnnotations(usable, findings, [name for name in sizes if name not in named])


def annotation_metrics(checked: CheckedAnnotations) -> dict[str, Any]:
    """Return the numbers that stand for a table of annotations."""
    numbers = [len(mask) for mask in checked.masks]
    return {
        "images": len(checked.masks),
        "polygons": sum(numbers),
        "polygons_per_image": _distribution(numbers),
        "most_annotated": dict(most_annotated(checked.masks, MOST_ANNOTATED)),
        "unannotated_images": len(checked.unannotated),
        "findings": count(checked.findings, KINDS),
    }


def polygon_counts(masks: Collection[ImageMask]) -> list[tuple[int, int]]:
    """Return for each number of islands how many images have it, from 0 to the largest."""
    counts = Counter(len(mask) for mask in masks)
    return [(number, counts[number]) for number in range(max(counts, default=0) + 1)]


def _distribution(values: Sequence[float]) -> dict[str, float]:
    array = np.asarray(values)
    return {
        "min": array.min().item(),
        "median": float(np.median(array)),
        "mean": float(array.mean()),
        "max": array.max().item(),
    }
