"""Reading GeoJSON as QuPath exports it, one file for each micrograph: features with polygons or multipolygons.

The file is a FeatureCollection, a list of features, or one feature, whose class is the name of its classification:
https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html. Without any classification there
are no classes. The format knows no size; that in the files of `microseg segment` is checked.
"""

import json
from pathlib import Path
from typing import Any

import shapely
from pydantic import ValidationError

from microseg.annotations.polygonize import rings
from microseg.common.errors import InputError
from microseg.sources.outlines import Model, Outline, OutlineFile, Shape, complaint

UNCLASSIFIED = "unclassified"


class _Classification(Model):
    name: str = UNCLASSIFIED


class _Properties(Model):
    classification: _Classification | None = None


class _Feature(Model):
    geometry: dict[str, Any]
    properties: _Properties | None = None

    @property
    def label(self) -> str | None:
        classification = self.properties and self.properties.classification
        return classification.name if classification else None


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
    without_class = UNCLASSIFIED if any(feature.label for feature in file.features) else None
    shapes = []
    for number, feature in enumerate(file.features):
        place = f"{path.as_posix()}, features.{number}"
        outlines = _outlines(place, feature.geometry)
        shapes.append(Shape(place, "", feature.label or without_class, outlines, has_rings=True))
    size = (file.height, file.width) if file.height is not None and file.width is not None else None
    return OutlineFile(path, file.image, size, shapes)


def _outlines(place: str, geometry: dict[str, Any]) -> tuple[Outline, ...]:
    """Return all rings of a geometry; none of points and lines."""
    try:
        parts = shapely.get_parts(shapely.from_geojson(json.dumps(geometry)))
    except shapely.errors.ShapelyError as error:
        raise InputError(f"{place}: {error}; export it again") from None
    return tuple(ring for part in parts for ring in rings(part))
