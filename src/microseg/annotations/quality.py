"""The shape of polygons: vertices, area, crossings, and where their points lie."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from microseg.annotations.issues import INVALID, NO_IMAGE, OUTSIDE, UNUSABLE_LINE, Issue, count
from microseg.annotations.masks import create_binary_mask, reaches_outside
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, UnusableLine, most_annotated


@dataclass(frozen=True)
class Shapes:
    """What is known of n polygons, an array of n values each.

    Attributes:
        vertices: how many there are, a repeated first one included.
        areas: square pixels that the outline encloses, by the coordinates and not by the pixels drawn.
        flat: whether all vertices lie on one line or in one point.
        point_distances: pixels from the island's point to its polygon; 0 where it lies inside or on the outline.
        crossings: where and how the outline crosses or touches itself, empty where it does not.
    """

    vertices: NDArray[np.intp]
    areas: NDArray[np.float64]
    flat: NDArray[np.bool_]
    point_distances: NDArray[np.float64]
    crossings: list[str]


def measure_shapes(polygons: Sequence[AnnotatedPolygon]) -> Shapes:
    """Measure any number of polygons. Outlines that cross themselves count by the even-odd rule."""
    vertices = np.array([len(polygon) for polygon in polygons], np.intp)
    # Closed outlines, for a ring of shapely has at least four points.
    rings = [np.vstack([polygon.nodes, polygon.nodes[:1]]) for polygon in polygons]
    owners = np.repeat(np.arange(len(rings)), vertices + 1)
    outlines = shapely.linearrings(np.concatenate([np.empty((0, 2)), *rings]), indices=owners)
    areas = shapely.polygons(outlines)
    points = shapely.points(np.array([polygon.center for polygon in polygons]).reshape(-1, 2))
    inside = shapely.intersects(areas, points)
    distances = np.where(inside, 0.0, shapely.distance(outlines, points))
    flat = shapely.area(shapely.convex_hull(areas)) == 0
    reasons = shapely.is_valid_reason(areas)
    crossings = [
        "" if line or "elf-inter" not in reason else reason for line, reason in zip(flat, reasons, strict=True)
    ]
    return Shapes(vertices, shapely.area(areas), flat, distances, crossings)


GROUP_COLUMNS = ("type", "temperature")
"""The columns of the published table that together say how a steel was made."""

MOST_VALUES = 20
"""A column with more values than this measures or names something; it does not group."""

Groups = dict[str, list[tuple[str, int]]]


def group_sizes(names: Sequence[str], metadata: Mapping[str, Mapping[str, str]]) -> Groups:
    """Return for each grouping column its values and how many of the micrographs `names` have each, sorted.

    `metadata` maps an image's name to its row. Where there are both, type and temperature also count together,
    under "type, temperature". Micrographs without metadata are left out.
    """
    rows = [metadata[name] for name in names if name in metadata]
    if not rows:
        return {}
    columns: list[tuple[str, ...]] = [(column,) for column in list(rows[0])[1:]]
    if set(GROUP_COLUMNS) <= set(rows[0]):
        columns.append(GROUP_COLUMNS)
    groups: Groups = {}
    for combined in columns:
        counts = Counter(", ".join(row[column] for column in combined) for row in rows)
        if len(counts) <= MOST_VALUES:
            groups[", ".join(combined)] = sorted(counts.items())
    return groups


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
    findings: list[Issue]


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
    findings = [Issue(UNUSABLE_LINE, one.image, one.line, one.reason) for one in unusable]
    findings += [finding for mask in masks for finding in _misplaced(mask, sizes)]
    usable = _usable(masks, findings)
    shapes = measure_shapes([polygon for mask in usable for polygon in mask.polygons])
    findings += _odd_shapes(usable, shapes)
    findings += [finding for mask in usable for finding in _odd_places(mask, *sizes[mask.img_name])]
    findings += _unpaired(masks, usable, sizes, described)
    return CheckedAnnotations(usable, shapes, findings)


def _usable(masks: Sequence[ImageMask], invalid: Sequence[Issue]) -> list[ImageMask]:
    """Return the masks without their invalid polygons, and without those that have nothing but invalid ones."""
    invalid_lines = {finding.line for finding in invalid if finding.line is not None}
    invalid_images = {finding.image for finding in invalid}
    usable = []
    for mask in masks:
        polygons = [polygon for polygon in mask.polygons if polygon.line not in invalid_lines]
        if polygons or mask.img_name not in invalid_images:
            usable.append(ImageMask(mask.img_name, polygons))
    return usable


def _misplaced(mask: ImageMask, sizes: Mapping[str, tuple[int, int]]) -> Iterator[Issue]:
    """Find polygons without an image, or with nothing of them inside it."""
    name = mask.img_name
    if name not in sizes:
        detail = f"{name} is annotated, but there is no such image"
        lines = [polygon.line for polygon in mask.polygons] or [None]
        yield from (Issue(NO_IMAGE, name, line, detail) for line in lines)
        return
    height, width = sizes[name]
    for polygon in mask.polygons:
        beyond = reaches_outside(polygon, height, width) > 0
        if beyond and not create_binary_mask(ImageMask(name, [polygon]), height, width).any():
            detail = f"the polygon lies outside {name}, which has {width} x {height} pixels"
            yield Issue(OUTSIDE, name, polygon.line, detail)


def _odd_shapes(masks: Sequence[ImageMask], shapes: Shapes) -> Iterator[Issue]:
    polygons = [(mask.img_name, polygon) for mask in masks for polygon in mask.polygons]
    for (name, polygon), flat, distance, crossing in zip(
        polygons, shapes.flat, shapes.point_distances, shapes.crossings, strict=True
    ):
        if flat:
            yield Issue("without_area", name, polygon.line, "all vertices lie on one line")
        if crossing:
            yield Issue("self_intersecting", name, polygon.line, crossing)
        if distance > 0:
            yield Issue("point_outside_its_polygon", name, polygon.line, f"by {distance:.1f} pixels")


def _odd_places(mask: ImageMask, height: int, width: int) -> Iterator[Issue]:
    first_places: dict[bytes, str] = {}
    for polygon in mask.polygons:
        name, line = mask.img_name, polygon.line
        outline = polygon.nodes.tobytes()
        if outline in first_places:
            yield Issue("repeated_polygon", name, line, f"the same outline as {first_places[outline]}")
        first_places.setdefault(outline, polygon.place)
        beyond = reaches_outside(polygon, height, width)
        if beyond > 0:
            yield Issue("out_of_bounds", name, line, f"by {beyond:g} pixels; cut off at the border")
        if polygon[0] == polygon[-1]:
            yield Issue("closed_outline", name, line, "the last vertex repeats the first")
        if (polygon.nodes % 1 != 0).any():
            yield Issue("fractional_coordinates", name, line, "rounded to whole pixels")


def _unpaired(
    masks: Sequence[ImageMask],
    usable: Sequence[ImageMask],
    images: Collection[str],
    described: Collection[str] | None,
) -> Iterator[Issue]:
    """Find images that no line of the annotations names, and used ones that no line of the metadata names."""
    annotated = {mask.img_name for mask in masks}
    for name in images:
        if name not in annotated:
            yield Issue("image_without_polygon", name, None, "no line names it; it is not used")
    for mask in usable:
        if described is not None and mask.img_name not in described:
            yield Issue("image_without_metadata", mask.img_name, None, "no line of metadata.csv names it")


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
