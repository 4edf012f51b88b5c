"""Reading the polygons of a COCO instance file, which CVAT, Label Studio and other annotation tools export.

Coordinates are taken as they are. An annotation of several polygons becomes several islands. Images without any
annotation are not used: the file does not say whether anybody looked at them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from microseg.annotations.polygons import is_file_name
from microseg.common.errors import InputError
from microseg.sources.annotation_lines import annotation_line


class _Part(BaseModel):
    """What all parts share: no silent conversion of types; keys that the pipeline does not need are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


class _Image(_Part):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(_Part):
    image_id: int | str
    category_id: int | str | None = None
    segmentation: list[list[float]]


class _File(_Part):
    images: list[_Image]
    annotations: list[_Annotation]


def coco_lines(path: Path, sizes: Mapping[str, tuple[int, int]], new_names: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of annotations.csv, below its header, for every polygon in the order of the file.

    Args:
        path: the COCO file.
        sizes: height and width of the images there are; the file must not say otherwise.
        new_names: the names that the lines are to use.

    Raises:
        InputError: the file is not a COCO file, has run-length masks or boxes instead of polygons, annotates more
            than one category, or does not fit the images.
    """
    content = _read(path)
    names: dict[int | str, str] = {}
    for image in content.images:
        name = image.file_name.replace("\\", "/").rsplit("/", 1)[-1]
        if not is_file_name(name):
            raise InputError(f"{path}: {name!r} is not the name of an image file; rename the image")
        if image.id in names or name in names.values():
            raise InputError(f"{path}: the image {name} (id {image.id}) stands there twice; export it again")
        names[image.id] = name
        _check_size(path, name, image, sizes)
    categories = {annotation.category_id for annotation in content.annotations}
    if len(categories) > 1:
        raise InputError(
            f"{path}: annotations of {len(categories)} categories; a mask has one foreground, export one of them"
        )
    for number, annotation in enumerate(content.annotations):
        place = f"{path}: annotations.{number}"
        if annotation.image_id not in names:
            raise InputError(f"{place}: image_id {annotation.image_id} is not among the images; export it again")
        if not annotation.segmentation:
            raise InputError(f"{place}: has no polygon, only a box perhaps; draw the outline or delete it")
        for flat in annotation.segmentation:
            if not flat or len(flat) % 2:
                raise InputError(f"{place}: a polygon of {len(flat)} numbers, which are no pairs (x, y); mend it")
            name = names[annotation.image_id]
            yield annotation_line(new_names.get(name, name), np.array(flat, np.float64).reshape(-1, 2))


def _check_size(path: Path, name: str, image: _Image, sizes: Mapping[str, tuple[int, int]]) -> None:
    if name not in sizes or image.width is None or image.height is None:
        return
    height, width = sizes[name]
    if (image.height, image.width) != (height, width):
        raise InputError(
            f"{path}: {name} has {image.width} x {image.height} pixels there, the image {width} x {height}; "
            "annotate the image as it is"
        )


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
    if isinstance(problem["input"], dict) and "counts" in problem["input"]:
        raise InputError(f"{path}: {place}: a run-length mask, not a polygon; export polygons")
    raise InputError(f"{path}: {place}: {problem['msg']}; a COCO instance file with polygons is needed")
