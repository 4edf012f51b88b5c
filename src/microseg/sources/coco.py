"""Reading a COCO instance file, which CVAT, Label Studio and other annotation tools export.

Images without any annotation are not used: the file does not say whether anybody annotated them. Run lengths go
down the columns, background first: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Discriminator, Field, Tag, ValidationError

from microseg.annotations.polygonize import Mask
from microseg.common.errors import InputError
from microseg.common.files import is_file_name
from microseg.sources.outlines import Model, Outline, Shape, complaint, shape_lines
from microseg.sources.pairing import Micrographs

# A character of compressed run lengths carries 5 bits, counted from "0"; a sixth bit says that more follow.
FIRST_CHARACTER, BITS, MORE, NEGATIVE = ord("0"), 5, 0x20, 0x10


class _Image(Model):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _RunLengths(Model):
    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    counts: list[int] | str


_Segmentation = Annotated[
    Annotated[list[list[float]], Tag("polygons")] | Annotated[_RunLengths, Tag("run lengths")],
    Discriminator(lambda value: "run lengths" if isinstance(value, dict) else "polygons"),
]


class _Category(Model):
    id: int | str
    name: str


class _Annotation(Model):
    image_id: int | str
    category_id: int | str | None = None
    segmentation: _Segmentation


class _File(Model):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = Field(default_factory=list)


def coco_lines(
    path: Path, content: Any, micrographs: Micrographs, foreground: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv below its header, each with its place in the COCO file, in file order.

    `foreground` has the names or ids of the categories that are foreground.

    Raises:
        InputError: the file is not a COCO file, has boxes instead of outlines, its foreground is ambiguous, or it
            does not fit the images.
    """
    file = _parse(path, content)
    names = _names(path, file.images, micrographs)
    categories = {str(category.id): category.name for category in file.categories}
    shapes = []
    for number, annotation in enumerate(file.annotations):
        place = f"{path.as_posix()}, annotations.{number}"
        if annotation.image_id not in names:
            raise InputError(f"{place}: image_id {annotation.image_id} is not among the images; export it again")
        name, label = names[annotation.image_id], str(annotation.category_id)
        shapes.append(_shape(place, name, categories.get(label, label), annotation.segmentation, micrographs))
    if foreground is not None:
        foreground = [one if one in categories.values() else categories.get(one, one) for one in foreground]
    annotated = {shape.image: shape.place for shape in reversed(shapes)}
    yield from shape_lines(path, shapes, annotated, micrographs, foreground)


def _parse(path: Path, content: Any) -> _File:
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        kind = "Label Studio's own JSON perhaps" if isinstance(content, list) else "not a COCO instance file"
        raise InputError(f"{path}: {kind} ({complaint(error)}); export the annotations as COCO") from None


def _names(path: Path, images: list[_Image], micrographs: Micrographs) -> dict[int | str, str]:
    """Return the micrograph of each image by its id, or the image's own name if there is none."""
    names: dict[int | str, str] = {}
    for image in images:
        found = micrographs.find(image.file_name, path)
        if not is_file_name(found):
            raise InputError(f"{path}: {found!r} is not the name of an image file; rename the image")
        if image.id in names or found in names.values():
            raise InputError(f"{path}: the image {found} (id {image.id}) is listed twice; export it again")
        names[image.id] = found
        if image.height is not None and image.width is not None:
            micrographs.check_size(f"{path}: {found}", found, (image.height, image.width))
    return names


def _shape(
    place: str, image: str, label: str, segmentation: list[list[float]] | _RunLengths, micrographs: Micrographs
) -> Shape:
    if isinstance(segmentation, _RunLengths):
        height, width = segmentation.size
        micrographs.check_size(f"{place}: the mask", image, (height, width))
        return Shape(place, image, label, mask=partial(_mask_of, place, segmentation))
    return Shape(place, image, label, tuple(_outline(place, flat) for flat in segmentation))


def _outline(place: str, flat: list[float]) -> Outline:
    if not flat or len(flat) % 2:
        raise InputError(f"{place}: a polygon of {len(flat)} numbers is not a list of pairs x, y; correct it")
    return np.array(flat, np.float64).reshape(-1, 2)


def _mask_of(place: str, runs: _RunLengths) -> Mask:
    height, width = runs.size
    try:
        counts = decompress_runs(runs.counts) if isinstance(runs.counts, str) else runs.counts
        return mask_of_runs(counts, height, width)
    except ValueError as error:
        raise InputError(f"{place}: {error}; export it again") from None


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
