"""Annotated shapes of COCO and LabelMe as lines of annotations.csv.

Both put (0, 0) at the outer corner of the top left pixel, so that the center of that pixel is (0.5, 0.5). A pixel
belongs to a polygon if its center lies inside. Centers on a left or upper edge count as inside, those on other
edges do not, so polygons that share an edge share no pixel.

The polygons of one annotation are united, but one that lies inside another is a hole in it, as those mean it who
trace the contours of a mask; COCO's own programs would fill it. The result is polygonized, so that drawing the
outlines gives exactly the mask again; parts that do not touch become islands of their own.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from microseg.annotations.polygonize import Mask, annotation_line, empty_line, polygonize
from microseg.annotations.polygons import FEWEST_VERTICES, are_fractions
from microseg.common.errors import InputError
from microseg.common.parallel import map_in_processes
from microseg.sources.foreground import AnnotatedClass, choose_classes
from microseg.sources.pairing import Micrographs

log = logging.getLogger(__name__)

Outline = NDArray[np.float64]
"""The vertices (x, y) of one polygon in the frame of COCO and LabelMe, (n, 2)."""

CENTER_OF_FIRST_PIXEL = 0.5


class Model(BaseModel):
    """The base of all parts of a file: no silent type conversion; keys that are not needed are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


@dataclass(frozen=True)
class Shape:
    """One annotation.

    Attributes:
        place: where the file holds it.
        image: the name of its micrograph in the user's folder; that of the file if there is no such micrograph.
        label: the name of its class.
        outlines: its polygons; none for a shape without area.
        mask: returns its mask (height, width) instead, or raises an InputError.
    """

    place: str
    image: str
    label: str
    outlines: tuple[Outline, ...] = ()
    mask: Callable[[], Mask] | None = None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, without LabelMe's copy of the image. InputError if it is not JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON text in UTF-8 ({error}); export it again") from None
    if isinstance(content, dict):
        content.pop("imageData", None)
    return content


def complaint(error: ValidationError) -> str:
    """Return the first problem that pydantic found in a file, with its place in it."""
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc']) or 'the whole file'}: {problem['msg']}"


def shape_lines(
    path: Path,
    shapes: Sequence[Shape],
    annotated: Mapping[str, str],
    micrographs: Micrographs,
    foreground: Sequence[str] | None,
) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv below its header, each with its place in the user's file.

    A micrograph that is annotated, but not with a class of the foreground, shows no island.

    Args:
        path: the file or folder that error messages name.
        shapes: all annotations, in the order of the lines.
        annotated: the names of the annotated micrographs, each with a place.
        micrographs: the micrographs of the folder.
        foreground: the names of the classes that are foreground, None if there is only one.

    Raises:
        InputError: the foreground is ambiguous or is not annotated, coordinates are not in pixels, or an
            annotation has no area or another size than its micrograph.
    """
    if are_fractions(outline for shape in shapes for outline in shape.outlines):
        raise InputError(
            f"{path}: all coordinates lie between 0 and 1, so they are fractions of the width and height; export "
            "coordinates in pixels"
        )
    if not shapes:
        raise InputError(f"{path}: holds no annotation; outline some islands")
    labels = sorted({shape.label for shape in shapes})
    classes = partial(_classes, shapes, labels, micrographs)
    chosen = choose_classes(path, foreground, labels, classes, "annotation", micrographs.option("foreground"))
    islands = [shape for shape in shapes if shape.label in chosen]
    polygonized = map_in_processes(partial(_lines_of_shape, micrographs), islands, "polygonizing annotations")
    without_pixels: list[str] = []
    with_holes: list[str] = []
    without_island = dict(annotated)
    for island, (lines, has_hole) in zip(islands, polygonized, strict=True):
        if lines:
            without_island.pop(island.image, None)
        else:
            without_pixels.append(island.place)
        if has_hole:
            with_holes.append(island.place)
        yield from ((line, island.place) for line in lines)
    for image, place in without_island.items():
        yield empty_line(micrographs.new_names.get(image, image)), place
    for places, what in (
        (without_pixels, "contain no pixel center and are ignored"),
        (with_holes, "have a polygon inside another one, which is taken for a hole (delete it if it is none)"),
    ):
        if places:
            log.warning("%d annotations %s, the first at %s", len(places), what, places[0])


def _classes(shapes: Sequence[Shape], labels: Sequence[str], micrographs: Micrographs) -> list[AnnotatedClass]:
    sizes = {shape.image: micrographs.sizes.get(shape.image, (0, 0)) for shape in shapes}
    pixels = max(1, sum(height * width for height, width in sizes.values()))
    areas = {label: [_area(shape) for shape in shapes if shape.label == label] for label in labels}
    return [AnnotatedClass(label, len(areas[label]), sum(areas[label]) / pixels) for label in labels]


def _area(shape: Shape) -> float:
    if shape.mask is not None:
        return float(np.count_nonzero(shape.mask()))
    return float(sum(shapely.area(shapely.polygons(one)) for one in shape.outlines if _is_drawable(one)))


def _lines_of_shape(micrographs: Micrographs, shape: Shape) -> tuple[list[str], bool]:
    """Return the lines of one annotation, and whether one of its polygons is a hole.

    Polygons that cannot be drawn are passed on for parse_csv to judge.
    """
    size, name = micrographs.kept(shape.image), micrographs.new_names.get(shape.image, shape.image)
    if shape.mask is not None:
        if size is None:
            raise InputError(
                f"{shape.place}: there is no image {shape.image}; put it there or delete the annotation"
            )
        return [annotation_line(name, nodes) for nodes in polygonize(shape.mask()[: size[0]])], False
    if not shape.outlines:
        raise InputError(
            f"{shape.place}: has no polygon, only a box, line or mask perhaps; draw the outline or delete it"
        )
    drawable = [outline for outline in shape.outlines if size is not None and _is_drawable(outline)]
    redrawn, has_hole = _redrawn(drawable, *size) if size is not None and drawable else (None, False)
    passed_on = shape.outlines if redrawn is None else [one for one in shape.outlines if not _is_drawable(one)]
    lines = [annotation_line(name, outline - CENTER_OF_FIRST_PIXEL) for outline in passed_on]
    return lines + [annotation_line(name, nodes) for nodes in redrawn or []], has_hole


def _is_drawable(outline: Outline) -> bool:
    return len(outline) >= FEWEST_VERTICES and bool(np.isfinite(outline).all())


def _redrawn(outlines: list[Outline], height: int, width: int) -> tuple[list[Outline] | None, bool]:
    """Polygonize the pixels that outlines enclose, in the pipeline's frame; None if they lie outside the image.

    Also return whether one of the outlines is a hole.
    """
    vertices = np.concatenate(outlines)
    low = np.clip(np.floor(vertices.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(vertices.max(axis=0)), 0, (width, height)).astype(int)
    if (low >= high).any():
        return None, False
    columns, rows = (high - low).tolist()
    mask, has_hole = fill_outlines([outline - low for outline in outlines], rows, columns)
    return [nodes + low for nodes in polygonize(mask)], has_hole


def fill_outlines(outlines: Sequence[Outline], height: int, width: int) -> tuple[Mask, bool]:
    """Return what the outlines of one annotation enclose (height, width), and whether one of them is a hole.

    An outline that crosses itself encloses what the even-odd rule says.
    """
    parts = sorted((_fill(outline, height, width) for outline in outlines), key=np.count_nonzero, reverse=True)
    mask, covered, has_hole = parts[0], parts[0], False
    for number, part in enumerate(parts[1:], start=1):
        is_inside = part.any() and not (part & ~covered).any()
        if is_inside and not any(np.array_equal(part, other) for other in parts[:number]):
            mask, has_hole = mask ^ part, True
        else:
            mask, covered = mask | part, covered | part
    return mask, has_hole


def _fill(outline: Outline, height: int, width: int) -> Mask:
    """Fill one outline by its crossings with the lines through the pixel centers of each row.

    skimage.draw.polygon tests every pixel against every edge, which takes far too long for outlines that follow
    pixels.
    """
    ends = np.stack([outline, np.roll(outline, -1, axis=0)])
    # From top to bottom, whichever way it was drawn: an edge that two outlines share is rounded alike in both.
    ends = np.where(ends[0, :, 1] > ends[1, :, 1], ends[::-1].transpose(2, 0, 1), ends.transpose(2, 0, 1))
    (x, lower_x), (y, lower_y) = ends
    first_rows, end_rows = (np.ceil(np.clip(edge - 0.5, 0, height)).astype(int) for edge in (y, lower_y))
    crossed = end_rows - first_rows
    edges = np.repeat(np.arange(len(outline)), crossed)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first_rows[edges]
    crossings = x[edges] + (rows + 0.5 - y[edges]) * (lower_x - x)[edges] / (lower_y - y)[edges]
    # A crossing flips every pixel whose center is not to the left of it.
    columns = np.ceil(np.clip(crossings - 0.5, 0, width)).astype(int)
    flips = np.zeros((height, width + 1), np.uint8)
    np.add.at(flips, (rows, columns), 1)
    # Sums above 255 wrap around to 0, which keeps them odd or even.
    inside: Mask = np.cumsum(flips, axis=1, dtype=np.uint8)[:, :width] % 2 == 1
    return inside
