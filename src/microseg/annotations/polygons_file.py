"""The polygons as the stages hand them on: one micrograph a line, as JSON."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from microseg.annotations.polygons import AnnotatedPolygon, ImageMask
from microseg.common.errors import InputError
from microseg.common.files import output_file


def write_polygons(path: Path, masks: Iterable[ImageMask]) -> None:
    """Write the polygons of all micrographs, in the order given."""
    with output_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for mask in masks:
            polygons = [_record(polygon) for polygon in mask.polygons]
            file.write(json.dumps({"image": mask.img_name, "polygons": polygons}, ensure_ascii=False) + "\n")


def _record(polygon: AnnotatedPolygon) -> dict[str, Any]:
    record = {"center": polygon.center, "nodes": polygon.nodes.tolist(), "line": polygon.line}
    return record if polygon.origin is None else {**record, "origin": polygon.origin}


def read_polygons(path: Path) -> list[ImageMask]:
    """Read what `write_polygons` wrote.

    Raises:
        InputError: there is no such file, or a line of it is not what `write_polygons` writes.
    """
    masks = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                masks.append(_read_line(line, f"{path}, line {number}"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage parse_csv, which writes it") from None
    return masks


def _read_line(line: str, place: str) -> ImageMask:
    try:
        record = json.loads(line)
        polygons = [
            AnnotatedPolygon(polygon["center"], polygon["nodes"], polygon["line"], polygon.get("origin"))
            for polygon in record["polygons"]
        ]
        return ImageMask(record["image"], polygons)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{place}: not a line of polygons ({error}); rerun the stage parse_csv") from error
