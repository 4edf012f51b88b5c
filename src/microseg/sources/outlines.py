"""Annotated shapes of COCO, LabelMe, GeoJSON and ImageJ as lines of annotations.csv.

All put (0, 0) at the outer corner of the top left pixel, so that the center of that pixel is (0.5, 0.5). A pixel
belongs to a polygon if its center lies inside. Centers on a left or upper edge count as inside, those on other
edges do not, so polygons that share an edge share no pixel.

The polygons of one annotation are united, but one that lies inside another is a hole in it, as those mean it who
trace the contours of a mask; COCO's own programs would fill it. An outline that crosses itself is refused. The
result is polygonized, so that drawing the outlines gives exactly the mask again; parts that do not touch become
islands of their own.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from microseg.sources.pairing import Micrographs, Size

log = logging.getLogger(__name__)

Outline = NDArray[np.float64]
"""The vertices (x, y) of one polygon in the frame of COCO and LabelMe, (n, 2)."""

CENTER_OF_FIRST_PIXEL = 0.5
VERTICES_OF_AN_ELLIPSE = 360


class Model(BaseModel):
    """The base of all parts of a file: no silent type conversion; keys that are not needed are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


@dataclass(frozen=True)
class Shape:
    """One annotation.

    Attributes:
        place: where the file holds it.
        image: the name of its micrograph in the user's folder; that of the file if there is no such micrograph.
        label: the name of its class; None where the annotations have no classes, and all are foreground.
        outlines: its polygons; none for a shape without area.
        mask: returns its mask (height, width) instead, or raises an InputError.
        has_rings: whether the format says that a polygon inside another one is a hole.
    """

    place: str
    image: str
    label: str | None
    outlines: tuple[Outline, ...] = ()
    mask: Callable[[], Mask] | None = None
    has_rings: bool = False


@dataclass(frozen=True)
class OutlineFile:
    """The annotations of one micrograph: the file, what it calls the micrograph and its size, if it does, shapes.

    The shapes do not know their micrograph yet.
    """

    path: Path
    image: str | None
    size: Size | None
    shapes: Sequence[Shape]


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


def file_lines(
    files: Sequence[OutlineFile], micrographs: Micrographs, foreground: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Yield the lines of `shape_lines` for files that have one micrograph each.

    The file of a micrograph was saved by somebody who looked at it: without a shape of the foreground, the
    micrograph shows no island. Shapes are united, whichever was drawn first.

    Raises:
        InputError: as for `shape_lines`; or a file means no micrograph, two mean the same one, or sizes differ.
    """
    paths: dict[str, Path] = {}
    shapes: list[Shape] = []
    for file in files:
        name = _micrograph_of(file, micrographs)
        if name in paths:
            raise InputError(f"{file.path}: {paths[name]} annotates {name} too; remove one of them")
        paths[name] = file.path
        if file.size is not None:
            micrographs.check_size(f"{file.path}: the annotated image", name, file.size)
        shapes += [replace(shape, image=name) for shape in file.shapes]
    annotated = {name: path.as_posix() for name, path in paths.items()}
    yield from shape_lines(files[0].path.parent, shapes, annotated, micrographs, foreground)


def _micrograph_of(file: OutlineFile, micrographs: Micrographs) -> str:
    """Return the micrograph of a file, by the file's own name and by what it calls the micrograph."""
    written = [file.path.with_suffix("").as_posix(), *([] if file.image is None else [file.image])]
    named = [micrographs.find(one, file.path) for one in written]
    found = [name for name in dict.fromkeys(named) if name in micrographs.sizes]
    if not found:
        raise InputError(f"{file.path}: there is no micrograph {named[-1]}; put it there or remove the file")
    if len(found) > 1:
        raise InputError(
            f"{file.path}: the image in it means {found[1]}, the file's own name {found[0]}; correct one of them"
        )
    return found[0]


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
            annotation has no area, crosses itself, or has another size than its micrograph.
    """
    if are_fractions(outline for shape in shapes for outline in shape.outlines):
        raise InputError(
            f"{path}: all coordinates lie between 0 and 1, so they are fractions of the width and height; export "
            "coordinates in pixels"
        )
    if not shapes:
        raise InputError(f"{path}: holds no annotation; outline some islands")
    labels = sorted({shape.label for shape in shapes if shape.label is not None})
    classes = partial(_classes, shapes, labels, micrographs)
    option = micrographs.option("foreground")
    chosen = choose_classes(path, foreground, labels, classes, "annotation", option) if labels else ()
    islands = [shape for shape in shapes if shape.label is None or shape.label in chosen]
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
    """Return the lines of one annotation, and whether one of its polygons is taken for a hole.

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
    try:
        redrawn, has_hole = _redrawn(drawable, *size) if size is not None and drawable else (None, False)
    except ValueError:
        x, y = shape.outlines[0][0]
        raise InputError(f"{shape.place}: the outline from ({x:g}, {y:g}) crosses itself; redraw it") from None
    passed_on = shape.outlines if redrawn is None else [one for one in shape.outlines if not _is_drawable(one)]
    lines = [annotation_line(name, outline - CENTER_OF_FIRST_PIXEL) for outline in passed_on]
    return lines + [annotation_line(name, nodes) for nodes in redrawn or []], has_hole and not shape.has_rings


def _is_drawable(outline: Outline) -> bool:
    return len(outline) >= FEWEST_VERTICES and bool(np.isfinite(outline).all())


def _redrawn(outlines: list[Outline], height: int, width: int) -> tuple[list[Outline] | None, bool]:
    """Polygonize the pixels that outlines enclose, in the pipeline's frame; None if they lie outside the image.

    Also return whether one of the outlines is a hole. ValueError if one crosses itself.
    """
    low, high = _box(np.concatenate(outlines), height, width)
    if (low >= high).any():
        return None, False
    columns, rows = (high - low).tolist()
    mask, has_hole = fill_outlines([outline - low for outline in outlines], rows, columns)
    return [nodes + low for nodes in polygonize(mask)], has_hole


def _box(vertices: Outline, height: int, width: int) -> NDArray[np.int64]:
    """Return the corners [low, high] of (x, y) of the pixels that an outline may enclose."""
    edges = np.array([np.floor(vertices.min(axis=0)), np.ceil(vertices.max(axis=0))])
    box: NDArray[np.int64] = np.clip(edges, 0, (width, height)).astype(int)
    return box


def fill_outlines(outlines: Sequence[Outline], height: int, width: int) -> tuple[Mask, bool]:
    """Return what the outlines of one annotation enclose (height, width), and whether one of them is a hole.

    ValueError if an outline crosses itself.
    """
    filled = []
    for outline in outlines:
        (left, top), (right, bottom) = corners = _box(outline, height, width)
        filled.append(((slice(top, bottom), slice(left, right)), _fill(outline, *corners)))
    filled.sort(key=lambda one: np.count_nonzero(one[1]), reverse=True)
    mask, covered, seen = np.zeros((height, width), bool), np.zeros((height, width), bool), set()
    has_hole = False
    for box, part in filled:
        is_inside = part.any() and not (part & ~covered[box]).any()
        key = (str(box), part.tobytes())
        if is_inside and key not in seen:
            mask[box] ^= part
            has_hole = True
        else:
            mask[box] |= part
            covered[box] |= part
        seen.add(key)
    return mask, has_hole


def _fill(outline: Outline, low: NDArray[np.int64], high: NDArray[np.int64]) -> Mask:
    """Fill one outline between two corners (x, y), by its crossings with the lines through pixel centers.

    skimage.draw.polygon tests every pixel against every edge, which takes far too long for outlines that follow
    pixels. The crossings to the left of a pixel count how often the outline winds around it: once, in one
    direction, if the outline does not cross itself. Loops without a pixel center do not matter, nor do slits to a
    hole and back.
    """
    width, height = (high - low).tolist()
    ends = np.stack([outline, np.roll(outline, -1, axis=0)]) - low
    # From top to bottom, whichever way it was drawn: an edge that two outlines share is rounded alike in both.
    goes_up = ends[0, :, 1] > ends[1, :, 1]
    ends = np.where(goes_up, ends[::-1].transpose(2, 0, 1), ends.transpose(2, 0, 1))
    (x, lower_x), (y, lower_y) = ends
    first_rows, end_rows = (np.ceil(np.clip(edge - 0.5, 0, height)).astype(int) for edge in (y, lower_y))
    crossed = end_rows - first_rows
    edges = np.repeat(np.arange(len(outline)), crossed)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first_rows[edges]
    crossings = x[edges] + (rows + 0.5 - y[edges]) * (lower_x - x)[edges] / (lower_y - y)[edges]
    # A crossing changes the winding number of every pixel whose center is not to the left of it.
    columns = np.ceil(np.clip(crossings - 0.5, 0, width)).astype(int)
    winding = np.zeros((height, width + 1), np.int32)
    np.add.at(winding, (rows, columns), np.where(goes_up, -1, 1)[edges])
    winding = np.cumsum(winding, axis=1)[:, :width]
    if winding.max(initial=0) - winding.min(initial=0) > 1:
        raise ValueError("an outline crosses itself")
    inside: Mask = winding != 0
    return inside


def ellipse(center: NDArray[np.float64], radii: NDArray[np.float64] | float) -> Outline:
    """Return the outline of an ellipse along the axes, with the given center (x, y) and radii."""
    angles = np.linspace(0, 2 * np.pi, VERTICES_OF_AN_ELLIPSE, endpoint=False)
    return center + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
