"""The quality of annotations: everything wrong or odd in them, and the tables and numbers that summarize them."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from microseg.annotations.issues import INVALID, NO_IMAGE, OUTSIDE, UNUSABLE_LINE, Issue, count
from microseg.annotations.masks import create_binary_mask, reaches_outside
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, most_annotated

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
"""All kinds of issues in a table of annotations, first those that make an annotation unusable."""

MOST_ANNOTATED = 15
"""How many of the most annotated micrographs are listed."""

GROUP_COLUMNS = ("type", "temperature")
"""The columns of the published table that together describe how a steel was made."""

MOST_VALUES = 20
"""A column with more different values than this holds measurements or names, not groups."""

Groups = dict[str, list[tuple[str, int]]]


@dataclass(frozen=True)
class Shapes:
    """Measurements of n polygons, arrays of n values.

    Attributes:
        vertices: their number, including a repeated first one.
        areas: the enclosed square pixels, computed from the coordinates, not from the pixels drawn.
        flat: whether all vertices lie on one line or in one point.
        point_distances: pixels from the island's point to its polygon; 0 if it lies inside or on the outline.
        crossings: where and how the outline crosses or touches itself; "" if it does not.
    """

    vertices: NDArray[np.intp]
    areas: NDArray[np.float64]
    flat: NDArray[np.bool_]
    point_distances: NDArray[np.float64]
    crossings: list[str]


@dataclass(frozen=True)
class CheckedAnnotations:
    """The usable annotations, the shapes of their polygons in the same order, and all issues."""

    masks: list[ImageMask]
    shapes: Shapes
    issues: list[Issue]


def check_annotations(
    masks: Sequence[ImageMask],
    unusable: Sequence[Issue],
    sizes: Mapping[str, tuple[int, int]],
    described: Collection[str] | None,
) -> CheckedAnnotations:
    """Find all issues of the annotations.

    An image with unusable polygons but no usable one is excluded: an empty mask would be wrong.

    Args:
        masks: the usable lines of the table.
        unusable: the other lines.
        sizes: height and width of every image.
        described: the images that metadata.csv names; None if there is no such table.
    """
    issues = [*unusable]
    issues += [issue for mask in masks for issue in find_misplaced(mask, sizes)]
    usable = _usable(masks, issues)
    shapes = measure_shapes([polygon for mask in usable for polygon in mask.polygons])
    issues += _odd_shapes(usable, shapes)
    issues += [issue for mask in usable for issue in _odd_positions(mask, *sizes[mask.img_name])]
    issues += _unpaired(masks, usable, sizes, described)
    return CheckedAnnotations(usable, shapes, issues)


def find_misplaced(mask: ImageMask, sizes: Mapping[str, tuple[int, int]]) -> Iterator[Issue]:
    """Find polygons without an image, or completely outside of it."""
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


def _usable(masks: Sequence[ImageMask], invalid: Sequence[Issue]) -> list[ImageMask]:
    """Return the masks without their invalid polygons; masks with only invalid polygons are excluded."""
    invalid_lines = {issue.line for issue in invalid if issue.line is not None}
    invalid_images = {issue.image for issue in invalid}
    usable = []
    for mask in masks:
        polygons = [polygon for polygon in mask.polygons if polygon.line not in invalid_lines]
        if polygons or mask.img_name not in invalid_images:
            usable.append(ImageMask(mask.img_name, polygons))
    return usable


def measure_shapes(polygons: Sequence[AnnotatedPolygon]) -> Shapes:
    """Measure polygons, by the even-odd rule if an outline crosses itself."""
    vertices = np.array([len(polygon) for polygon in polygons], np.intp)
    # Closed outlines, because a ring of shapely needs at least four points.
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
        "" if is_flat or "elf-inter" not in reason else reason
        for is_flat, reason in zip(flat, reasons, strict=True)
    ]
    return Shapes(vertices, shapely.area(areas), flat, distances, crossings)


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


def _odd_positions(mask: ImageMask, height: int, width: int) -> Iterator[Issue]:
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
    """Find images without a line in the annotations, and used images without a line in the metadata."""
    annotated = {mask.img_name for mask in masks}
    for name in images:
        if name not in annotated:
            yield Issue("image_without_polygon", name, None, "no line names it; it is not used")
    for mask in usable:
        if described is not None and mask.img_name not in described:
            yield Issue("image_without_metadata", mask.img_name, None, "no line of metadata.csv names it")


def annotation_metrics(checked: CheckedAnnotations) -> dict[str, Any]:
    """Return summary numbers of checked annotations with one or more polygons."""
    counts = count(checked.issues, KINDS)
    return {
        "images": len(checked.masks),
        "polygons": len(checked.shapes.areas),
        "images_declared_empty": sum(not len(mask) for mask in checked.masks),
        "polygons_per_image": _distribution([len(mask) for mask in checked.masks]),
        "vertices_per_polygon": _distribution(checked.shapes.vertices),
        "polygon_area": _distribution(checked.shapes.areas),
        "most_annotated": dict(most_annotated(checked.masks, MOST_ANNOTATED)),
        "issues": counts,
        "skipped": sum(counts[kind] for kind in INVALID),
    }


def _distribution(values: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, float]:
    array = np.asarray(values)
    return {
        "min": array.min().item(),
        "median": float(np.median(array)),
        "mean": float(array.mean()),
        "max": array.max().item(),
    }


def annotation_tables(
    checked: CheckedAnnotations, metadata: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]:
    """Yield the tables behind the plots: file name, header and rows; `metadata` is empty if there is none."""
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


def group_sizes(names: Sequence[str], metadata: Mapping[str, Mapping[str, str]]) -> Groups:
    """Count micrographs by the values of each grouping column, sorted by value, without those without metadata.

    If there are both, type and temperature are also counted together, as "type, temperature".
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
