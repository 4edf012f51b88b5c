"""The two tables that a user may give with a folder of micrographs: their pixel sizes, and their specimens."""

from collections.abc import Collection
from pathlib import Path

from microseg.common.errors import InputError
from microseg.common.tables import read_table
from microseg.measurement.pixel_size import PixelSize, micrometres, parse_number

IMAGE, SPECIMEN = "image", "specimen"
SCALE_COLUMNS = (IMAGE, "pixel_size", "unit")


def read_scales(path: Path, images: Collection[str]) -> dict[str, PixelSize]:
    """Read the table of pixel sizes: image, pixel_size, unit.

    Raises:
        InputError: the table cannot be used, or names a picture that is not among `images`.
    """
    scales = {}
    for where, row in _rows(path, SCALE_COLUMNS, images).values():
        number = parse_number(row["pixel_size"], where)
        scales[row[IMAGE]] = PixelSize(micrometres(number, row["unit"], where), path.name)
    return scales


def read_fields(path: Path, images: Collection[str]) -> dict[str, dict[str, str]]:
    """Read the table of fields: image, specimen, and any columns more. Every one of `images` has to stand in it.

    Raises:
        InputError: the table cannot be used, leaves a picture out, or names one that is not among `images`.
    """
    rows = _rows(path, (IMAGE, SPECIMEN), images)
    missing = sorted(set(images) - set(rows))
    if missing:
        raise InputError(f"{path}: no line for {_some(missing)}; add it, or move the picture out of the folder")
    return {image: row for image, (_, row) in rows.items()}


def _rows(path: Path, columns: tuple[str, ...], images: Collection[str]) -> dict[str, tuple[str, dict[str, str]]]:
    header, lines = read_table(path)
    names = [name.strip().lower().replace(" ", "_") for name in header]
    for column in columns:
        if column not in names:
            raise InputError(f"{path}, line 1: no column {column}; the table needs {', '.join(columns)}")
    rows: dict[str, tuple[str, dict[str, str]]] = {}
    for number, fields in lines:
        where, row = f"{path}, line {number}", dict(zip(names, fields, strict=True))
        if row[IMAGE] in rows:
            raise InputError(f"{where}: {row[IMAGE]} stands in an earlier line too; remove one")
        rows[row[IMAGE]] = where, row
    strangers = [image for image in rows if image not in images]
    if strangers:
        raise InputError(f"{path}: there is no picture {_some(strangers)}; correct the name or remove the line")
    return rows


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
