"""Reading GeoJSON as QuPath exports it, one file for each micrograph: features with (multi)polygons.

The file is a FeatureCollection, a list of features, or one feature, whose class is the name of its classification:
https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html. The format knows no size; that in
the files of `microseg segment` is checked.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag, ValidationError

from microseg.common.errors import InputError
from microseg.sources.outlines import Model, Outline, OutlineFile, Shape, complaint

UNCLASSIFIED = "unclassified"

_Rings = list[list[Annotated[list[float], Field(min_length=2)]]]


class _Polygon(Model):
    type: Literal["Polygon"]
    coordinates: _Rings


class _MultiPolygon(Model):
    type: Literal["MultiPolygon"]
    coordinates: list[_Rings]


class _WithoutArea(Model):
    type: str


_Geometry = Annotated[
    Annotated[_Polygon, Tag("Polygon")]
    | Annotated[_MultiPolygon, Tag("MultiPolygon")]
    | Annotated[_WithoutArea, Tag("")],
    Discriminator(lambda value: kind if (kind := value.get("type")) in ("Polygon", "MultiPolygon") else ""),
]


class _Classification(Model):
    name: str = UNCLASSIFIED


class _Properties(Model):
    classification: _Classification | None = None


class _Feature(Model):
    geometry: _Geometry
    properties: _Properties | None = None


class _Collection(Model):
    features: list[_Feature]
    image: str | None = None
    width: int | None = None
    height: int | None = None


def is_geojson(content: Any) -> bool:
    """Return whether the content of a JSON file is GeoJSON."""
    ones = content if isinstance(content, list) else [content]
    return all(isinstance(one, dict) and one.get("type") in ("Feature", "FeatureCollection") for one in ones)


def read_geojson(path: Path, content: Any) -> OutlineFile:
    """Return the outlines of a file, of which `is_geojson` is true; InputError if it is damaged."""
    if isinstance(content, list) or "features" not in content:
        content = {"features": content if isinstance(content, list) else [content]}
    try:
        file = _Collection.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {complaint(error)}; export it again") from None
    shapes = []
    for number, feature in enumerate(file.features):
        classification = (feature.properties or _Properties()).classification or _Classification()
        place = f"{path.as_posix()}, features.{number}"
        shapes.append(Shape(place, "", classification.name, _outlines(feature.geometry), has_rings=True))
    size = (file.height, file.width) if file.height is not None and file.width is not None else None
    return OutlineFile(path, file.image, size, shapes)


def _outlines(geometry: _Polygon | _MultiPolygon | _WithoutArea) -> tuple[Outline, ...]:
    """Return all rings of a geometry, without further coordinates such as z."""
    if isinstance(geometry, _WithoutArea):
        return ()
    polygons = [geometry.coordinates] if isinstance(geometry, _Polygon) else geometry.coordinates
    return tuple(np.array([point[:2] for point in ring]) for rings in polygons for ring in rings)
