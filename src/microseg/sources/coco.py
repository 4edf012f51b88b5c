"""Reading a COCO instance file, which CVAT, Label Studio and other annotation tools export.

The mask of an annotation is polygonized, so that drawing the outlines gives exactly the mask again; parts that do
not touch become islands of their own. Images without any annotation are not used: the file does not say whether
anybody annotated them.

COCO puts (0, 0) at the outer corner of the top left pixel, so that the center of that pixel is (0.5, 0.5). A pixel
belongs to a polygon if its center lies inside. Centers on a left or upper edge count as inside, those on other
edges do not, so polygons that share an edge share no pixel. Run lengths go down the columns, background first:
https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Tag, ValidationError

from microseg.annotations.polygonize import Mask, annotation_line, empty_line, polygonize
from microseg.annotations.polygons import FEWEST_VERTICES
from microseg.common.errors import InputError
from microseg.common.files import is_file_name
from microseg.common.parallel import map_in_processes

log = logging.getLogger(__name__)

Outline = NDArray[np.float64]
"""The vertices (x, y) of one polygon in COCO's frame, (n, 2)."""

Size = tuple[int, int]
"""Height and width of an image."""

CENTER_OF_FIRST_PIXEL = 0.5

# A character of compressed run lengths carries 5 bits, counted from "0"; a sixth bit says that more follow.
FIRST_CHARACTER, BITS, MORE, NEGATIVE = ord("0"), 5, 0x20, 0x10


class _Model(BaseModel):
    """The base of all parts of the file: no silent type conversion; keys that are not needed are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


class _Image(_Model):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _RunLengths(_Model):
    size: list[int]
    counts: list[int] | str


_Segmentation = Annotated[
    Annotated[list[list[float]], Tag("polygons")] | Annotated[_RunLengths, Tag("run lengths")],
    Discriminator(lambda value: "run lengths" if isinstance(value, dict) else "polygons"),
]


class _Annotation(_Model):
    image_id: int | str
    category_id: int | str | None = None
    segmentation: _Segmentation


class _File(_Model):
    images: list[_Image]
    annotations: list[_Annotation]


@dataclass(frozen=True)
class _Island:
    """One annotation.

    Attributes:
        place: where the file holds it.
        image: the name of its image in the pipeline.
        size: the size of that image, None if there is no such image.
        segmentation: polygons of x, y, x, y, ..., or run lengths.
    """

    place: str
    image: str
    size: Size | None
    segmentation: list[list[float]] | _RunLengths


def coco_lines(
    path: Path, sizes: Mapping[str, Size], new_names: Mapping[str, str], crop_bottom: int
) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv below its header, each with its place in the COCO file, in file order.

    Args:
        path: the COCO file.
        sizes: height and width of the existing images; the file must not contradict them.
        new_names: the names that the lines use instead.
        crop_bottom: rows that are cut off at the bottom of every image.

    Raises:
        InputError: the file is not a COCO file, has boxes instead of outlines, annotates more than one category,
            or does not fit the images.
    """
    content = _read(path)
    names = _names(path, content.images, sizes)
    categories = {annotation.category_id for annotation in content.annotations}
    if len(categories) > 1:
        raise InputError(
            f"{path}: annotations of {len(categories)} categories; a mask has one foreground, export one of them"
        )
    islands = []
    for number, annotation in enumerate(content.annotations):
        place = f"{path.as_posix()}, annotations.{number}"
        if annotation.image_id not in names:
            raise InputError(f"{place}: image_id {annotation.image_id} is not among the images; export it again")
        name = names[annotation.image_id]
        islands.append(_Island(place, new_names.get(name, name), sizes.get(name), annotation.segmentation))
    if not islands:
        raise InputError(f"{path}: holds no annotation; outline some islands")
    yield from _lines_of_islands(islands, crop_bottom)


def _read(path: Path) -> _File:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON text in UTF-8 ({error}); export it again") from None
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    raise InputError(f"{path}: {place}: {problem['msg']}; a COCO instance file is needed")


def _names(path: Path, images: list[_Image], sizes: Mapping[str, Size]) -> dict[int | str, str]:
    """Return the file name of each image by its id."""
    names: dict[int | str, str] = {}
    known = set()
    for image in images:
        name = image.file_name.replace("\\", "/").rsplit("/", 1)[-1]
        if not is_file_name(name):
            raise InputError(f"{path}: {name!r} is not the name of an image file; rename the image")
        if image.id in names or name in known:
            raise InputError(f"{path}: the image {name} (id {image.id}) is listed twice; export it again")
        names[image.id] = name
        known.add(name)
        _check_size(path, name, image, sizes)
    return names


def _check_size(path: Path, name: str, image: _Image, sizes: Mapping[str, Size]) -> None:
    if name not in sizes or image.width is None or image.height is None:
        return
    height, width = sizes[name]
    if (image.height, image.width) != (height, width):
        raise InputError(
            f"{path}: {name} has {image.width} x {image.height} pixels there, the image {width} x {height}; "
            "annotate the image as it is"
        )


def _lines_of_islands(islands: list[_Island], crop_bottom: int) -> Iterator[tuple[str, str]]:
    polygonized = map_in_processes(partial(_lines_of_island, crop_bottom), islands, "polygonizing annotations")
    without_pixels: list[_Island] = []
    annotated = set()
    for island, lines in zip(islands, polygonized, strict=True):
        if lines:
            annotated.add(island.image)
        else:
            without_pixels.append(island)
        yield from ((line, island.place) for line in lines)
    if without_pixels:
        log.warning(
            "%d annotations contain no pixel center and are ignored, the first at %s",
            len(without_pixels),
            without_pixels[0].place,
        )
    for image, place in {island.image: island.place for island in without_pixels}.items():
        if image not in annotated:
            yield empty_line(image), place


def _lines_of_island(crop_bottom: int, island: _Island) -> list[str]:
    """Return the lines of one annotation. Polygons that cannot be drawn are passed on for parse_csv to judge."""
    if isinstance(island.segmentation, _RunLengths):
        mask = _mask_of(island, island.segmentation)
        return [annotation_line(island.image, nodes) for nodes in polygonize(mask[: len(mask) - crop_bottom])]
    outlines = [_outline(island, flat) for flat in island.segmentation]
    if not outlines:
        raise InputError(f"{island.place}: has no polygon, only a box perhaps; draw the outline or delete it")
    drawable = [outline for outline in outlines if island.size is not None and _is_drawable(outline)]
    redrawn = None
    if island.size is not None and drawable:
        redrawn = _redrawn(drawable, island.size[0] - crop_bottom, island.size[1])
    passed_on = outlines if redrawn is None else [outline for outline in outlines if not _is_drawable(outline)]
    lines = [annotation_line(island.image, outline - CENTER_OF_FIRST_PIXEL) for outline in passed_on]
    return lines + [annotation_line(island.image, nodes) for nodes in redrawn or []]


def _outline(island: _Island, flat: list[float]) -> Outline:
    if not flat or len(flat) % 2:
        raise InputError(
            f"{island.place}: a polygon of {len(flat)} numbers is not a list of pairs x, y; correct it"
        )
    return np.array(flat, np.float64).reshape(-1, 2)


def _is_drawable(outline: Outline) -> bool:
    return len(outline) >= FEWEST_VERTICES and bool(np.isfinite(outline).all())


def _redrawn(outlines: list[Outline], height: int, width: int) -> list[Outline] | None:
    """Polygonize the pixels that outlines enclose, in the pipeline's frame; None if they lie outside the image."""
    vertices = np.concatenate(outlines)
    low = np.clip(np.floor(vertices.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(vertices.max(axis=0)), 0, (width, height)).astype(int)
    if (low >= high).any():
        return None
    columns, rows = (high - low).tolist()
    mask = fill_outlines([outline - low for outline in outlines], rows, columns)
    return [nodes + low for nodes in polygonize(mask)]


def _mask_of(island: _Island, runs: _RunLengths) -> Mask:
    if island.size is None:
        raise InputError(
            f"{island.place}: there is no image {island.image}; put it there or delete the annotation"
        )
    if tuple(runs.size) != island.size:
        raise InputError(
            f"{island.place}: a run-length mask of size {runs.size}, the image has {list(island.size)}; "
            "export it again"
        )
    try:
        counts = decompress_runs(runs.counts) if isinstance(runs.counts, str) else runs.counts
        return mask_of_runs(counts, *island.size)
    except ValueError as error:
        raise InputError(f"{island.place}: {error}; export it again") from None


def fill_outlines(outlines: Sequence[Outline], height: int, width: int) -> Mask:
    """Return the union (height, width) of the insides of outlines; by the even-odd rule if one crosses itself."""
    mask = np.zeros((height, width), np.bool_)
    for outline in outlines:
        mask |= _fill(outline, height, width)
    return mask


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


def mask_of_runs(counts: Sequence[int], height: int, width: int) -> Mask:
    """Return the mask (height, width) of run lengths. ValueError if they do not fill it exactly."""
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths of {sum(counts)} pixels for a mask of {height * width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def decompress_runs(text: str) -> list[int]:
    """Return the run lengths that COCO's compressed form encodes. ValueError if the text does not encode any."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - FIRST_CHARACTER
        if not 0 <= code < 2 * MORE:
            raise ValueError(f"{character!r} in compressed run lengths")
        value |= (code & (MORE - 1)) << shift
        shift += BITS
        if code & MORE:
            continue
        if code & NEGATIVE:
            value -= 1 << shift
        # From the fourth on, the difference to the run before the last is stored.
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that break off")
    return counts
