"""Reading the files of LabelMe, one JSON file for each micrograph: https://github.com/wkentaro/labelme."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from microseg.common.errors import InputError
from microseg.sources.outlines import Model, Outline, OutlineFile, Shape, complaint, ellipse


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


def read_labelme(path: Path, content: Any) -> OutlineFile:
    """Return the shapes of a file, of which `is_labelme` is true; InputError if it is damaged."""
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {complaint(error)}; save it with LabelMe again") from None
    shapes = [
        Shape(f"{path.as_posix()}, shapes.{number}", "", shape.label, _outlines(shape))
        for number, shape in enumerate(file.shapes)
    ]
    size = (file.height, file.width) if file.height is not None and file.width is not None else None
    return OutlineFile(path, file.image_path, size, shapes)


def _outlines(shape: _Shape) -> tuple[Outline, ...]:
    """Return the outline of a shape; none of points, lines and masks."""
    points = np.array(shape.points, np.float64).reshape(-1, 2)
    if shape.shape_type == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points.tolist()
        return (np.array([(left, top), (right, top), (right, bottom), (left, bottom)]),)
    if shape.shape_type == "circle" and len(points) == 2:
        center, on_the_circle = points
        return (ellipse(center, np.hypot(*(on_the_circle - center))),)
    # Older files do not name the type of a polygon.
    return (points,) if shape.shape_type in (None, "polygon", "rectangle", "oriented_rectangle") else ()
