"""Reading the files of LabelMe, one JSON file for each micrograph: https://github.com/wkentaro/labelme.

The file of a micrograph was saved by somebody who looked at it: without a shape of the foreground, the micrograph
shows no island. Shapes are united, whichever was drawn first.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from microseg.common.errors import InputError
from microseg.sources.outlines import Model, Outline, Shape, complaint, shape_lines
from microseg.sources.pairing import Micrographs

VERTICES_OF_A_CIRCLE = 360


class _Shape(Model):
    label: str
    points: list[Annotated[list[float], Field(min_length=2, max_length=2)]]
    shape_type: str | None = None


class _File(Model):
    image_path: str = Field(alias="imagePath")
    width: int | None = Field(default=None, alias="imageWidth")
    height: int | None = Field(default=None, alias="imageHeight")
    shapes: list[_Shape]


def is_labelme(content: Any) -> bool:
    """Return whether the content of a JSON file is that of LabelMe."""
    return isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys()


def labelme_lines(
    contents: Mapping[Path, Any], micrographs: Micrographs, foreground: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv below its header, each with its place in the files.

    Raises:
        InputError: a file is damaged or means no micrograph, two mean the same one, sizes differ, the foreground
            is ambiguous, or a shape of it has no area.
    """
    files: dict[str, Path] = {}
    shapes = []
    for path, content in contents.items():
        try:
            file = _File.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{path}: {complaint(error)}; save it with LabelMe again") from None
        name = _micrograph_of(path, file, micrographs)
        if name in files:
            raise InputError(f"{path}: {files[name]} annotates {name} too; remove one of them")
        files[name] = path
        if file.height is not None and file.width is not None:
            micrographs.check_size(f"{path}: the annotated image", name, (file.height, file.width))
        for number, shape in enumerate(file.shapes):
            shapes.append(Shape(f"{path.as_posix()}, shapes.{number}", name, shape.label, _outlines(shape)))
    folder = next(iter(contents)).parent
    annotated = {name: path.as_posix() for name, path in files.items()}
    yield from shape_lines(folder, shapes, annotated, micrographs, foreground)


def _micrograph_of(path: Path, file: _File, micrographs: Micrographs) -> str:
    """Return the micrograph of a file, by the file's own name and by the path in it."""
    named = (micrographs.find(path.stem, path), micrographs.find(file.image_path, path))
    found = [name for name in dict.fromkeys(named) if name in micrographs.sizes]
    if not found:
        raise InputError(f"{path}: there is no micrograph {named[1]}; put it there or remove the file")
    if len(found) > 1:
        raise InputError(
            f"{path}: imagePath means {found[1]}, the file's own name {found[0]}; correct one of them"
        )
    return found[0]


def _outlines(shape: _Shape) -> tuple[Outline, ...]:
    """Return the outline of a shape; none of points, lines and masks."""
    points = np.array(shape.points, np.float64).reshape(-1, 2)
    if shape.shape_type == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points.tolist()
        return (np.array([(left, top), (right, top), (right, bottom), (left, bottom)]),)
    if shape.shape_type == "circle" and len(points) == 2:
        center, on_the_circle = points
        angles = np.linspace(0, 2 * np.pi, VERTICES_OF_A_CIRCLE, endpoint=False)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return (center + np.hypot(*(on_the_circle - center)) * directions,)
    # Older files do not name the type of a polygon.
    return (points,) if shape.shape_type in (None, "polygon", "rectangle", "oriented_rectangle") else ()
