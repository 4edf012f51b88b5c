"""What the table of annotations says, and what in it is wrong or odd."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from microseg.annotations.findings import INVALID, NO_IMAGE, OUTSIDE, UNUSABLE_LINE, Finding, count
from microseg.annotations.geometry import Shapes, measure_shapes
from microseg.annotations.groups import group_sizes
from microseg.annotations.masks import create_binary_mask, reaches_outside
from microseg.annotations.polygons import ImageMask, UnusableLine, most_annotated

MOST_ANNOTATED = 15
KINDS = (
    UNUSABLE_LINE,
    NO_IMAGE,
    OUTSIDE,
    "image_without_polygon",
    "image_without_metadata",
    "repeated_polygon",
    "out_of_bounds",
    "self_intersecting",
    "without_area",
    "point_outside_its_polygon",
    "closed_outline",
    "fractional_coordinates",
)
"""All kinds of findings in a table of annotations; those that leave nothing to use come first."""


@dataclass(frozen=True)
class CheckedAnnotations:
    """The usable annotations with the shapes of their polygons in the same order, and all findings."""

    masks: list[ImageMask]
    shapes: Shapes
    findings: list[Finding]


def check_annotations(
    masks: Sequence[ImageMask],
    unusable: Sequence[UnusableLine],
    sizes: Mapping[str, tuple[int, int]],
    described: Collection[str] | None,
) -> CheckedAnnotations:
    """Look through all annotations.

    An image of which a polygon is unusable and none is usable is left out: an empty mask would be a lie.

    Args:
        masks: the usable lines of the table.
        unusable: the other lines.
        sizes: height and width of every image there is.
        described: the images that metadata.csv names; None where there is no such table.
    """
    findings = [Finding(UNUSABLE_LINE, one.image, one.line, one.reason) for one in unusable]
    findings += [finding for mask in masks for finding in _misplaced(mask, sizes)]
    usable = _usable(masks, findings)
    shapes = measure_shapes([polygon for mask in usable for polygon in mask.polygons])
    findings += _odd_shapes(usable, shapes)
    findings += [finding for mask in usable for finding in _odd_places(mask, *sizes[mask.img_name])]
    findings += _unpaired(masks, usable, sizes, described)
    return CheckedAnnotations(usable, shapes, findings)


def _usable(masks: Sequence[ImageMask], invalid: Sequence[Finding]) -> list[ImageMask]:
    """Return the masks without their invalid polygons, and without those that have nothing but invalid ones."""
    invalid_lines = {finding.line for finding in invalid if finding.line is not None}
    invalid_images = {finding.image for finding in invalid}
    usable = []
    for mask in masks:
        polygons = [polygon for polygon in mask.polygons if polygon.line not in invalid_lines]
        if polygons or mask.img_name not in invalid_images:
            usable.append(ImageMask(mask.img_name, polygons))
    return usable


def _misplaced(mask: ImageMask, sizes: Mapping[str, tuple[int, int]]) -> Iterator[Finding]:
    """Find polygons without an image, or with nothing of them inside it."""
    name = mask.img_name
    if name not in sizes:
        detail = f"{name} is annotated, but there is no such image"
        lines = [polygon.line for polygon in mask.polygons] or [None]
        yield from (Finding(NO_IMAGE, name, line, detail) for line in lines)
        return
    height, width = sizes[name]
    for polygon in mask.polygons:
        beyond = reaches_outside(polygon, height, width) > 0
        if beyond and not create_binary_mask(ImageMask(name, [polygon]), height, width).any():
            detail = f"the polygon lies outside {name}, which has {width} x {height} pixels"
            yield Finding(OUTSIDE, name, polygon.line, detail)


def _odd_shapes(masks: Sequence[ImageMask], shapes: Shapes) -> Iterator[Finding]:
    polygons = [(mask.img_name, polygon) for mask in masks for polygon in mask.polygons]
    for (name, polygon), flat, distance, crossing in zip(
        polygons, shapes.flat, shapes.point_distances, shapes.crossings, strict=True
    ):
        if flat:
            yield Finding("without_area", name, polygon.line, "all vertices lie on one line")
        if crossing:
            yield Finding("self_intersecting", name, polygon.line, crossing)
        if distance > 0:
            yield Finding("point_outside_its_polygon", name, polygon.line, f"by {distance:.1f} pixels")


def _odd_places(mask: ImageMask, height: int, width: int) -> Iterator[Finding]:
    first_places: dict[bytes, str] = {}
    for polygon in mask.polygons:
        name, line = mask.img_name, polygon.line
        outline = polygon.nodes.tobytes()
        if outline in first_places:
            yield Finding("repeated_polygon", name, line, f"the same outline as {first_places[outline]}")
        first_places.setdefault(outline, polygon.place)
        beyond = reaches_outside(polygon, height, width)
        if beyond > 0:
            yield Finding("out_of_bounds", name, line, f"by {beyond:g} pixels; cut off at the border")
        if polygon[0] == polygon[-1]:
            yield Finding("closed_outline", name, line, "the last vertex repeats the first")
        if (polygon.nodes % 1 != 0).any():
            yield Finding("fractional_coordinates", name, line, "rounded to whole pixels")


def _unpaired(
    masks: Sequence[ImageMask],
    usable: Sequence[ImageMask],
    images: Collection[str],
    described: Collection[str] | None,
) -> Iterator[Finding]:
    """Find images that no line of the annotations names, and used ones that no line of the metadata names."""
    annotated = {mask.img_name for mask in masks}
    for name in images:
        if name not in annotated:
            yield Finding("image_without_polygon", name, None, "no line names it; it is not used")
    for mask in usable:
        if described is not None and mask.img_name not in described:
            yield Finding("image_without_metadata", mask.img_name, None, "no line of metadata.csv names it")


def annotation_metrics(checked: CheckedAnnotations) -> dict[str, Any]:
    """Return the numbers that stand for a checked table of annotations with at least one polygon."""
    counts = count(checked.findings, KINDS)
    return {
        "images": len(checked.masks),
        "polygons": len(checked.shapes.areas),
        "images_declared_empty": sum(not len(mask) for mask in checked.masks),
        "polygons_per_image": _distribution([len(mask) for mask in checked.masks]),
        "vertices_per_polygon": _distribution(checked.shapes.vertices),
        "polygon_area": _distribution(checked.shapes.areas),
        "most_annotated": dict(most_annotated(checked.masks, MOST_ANNOTATED)),
        "findings": counts,
        "skipped": sum(counts[kind] for kind in INVALID),
    }


def annotation_tables(
    checked: CheckedAnnotations, metadata: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]:
    """Yield the tables behind the plots: file name, header and rows.

    Args:
        checked: the annotations.
        metadata: each image's row of metadata.csv, by name; empty where there is no such table.
    """
    counts = Counter(len(mask) for mask in checked.masks)
    rows: list[tuple[object, ...]] = [(number, counts[number]) for number in range(max(counts) + 1)]
    yield "polygons_per_image.csv", ("islands", "micrographs"), rows
    polygons = [(mask.img_name, polygon.line) for mask in checked.masks for polygon in mask.polygons]
    shapes = zip(polygons, checked.shapes.vertices.tolist(), checked.shapes.areas.tolist(), strict=True)
    rows = [(*polygon, vertices, area) for polygon, vertices, area in shapes]
    yield "polygons.csv", ("image", "line", "vertices", "area"), rows
    groups = group_sizes([mask.img_name for mask in checked.masks], metadata)
    rows = [(column, value, number) for column, sizes in groups.items() for value, number in sizes]
    yield "groups.csv", ("column", "value", "micrographs"), rows


def _distribution(values: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, float]:
    array = np.asarray(values)
    return {
        "min": array.min().item(),
        "median": float(np.median(array)),
        "mean": float(array.mean()),
        "max": array.max().item(),
    }
