"""The table of what is known about each micrograph: one line an image, its columns free but for `image_url`.

It is read with the csv module rather than pandas, which does not tell the line that an error has to name.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from microseg.common.errors import InputError
from microseg.micrographs.line_map import LineMap, read_line_map

IMAGE_COLUMN = "image_url"

BLANK = "(blank)"
"""What stands in the name of a group for a value that is not given."""


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """Read metadata.csv: image name to its row, column name to text, in file order.

    Raises:
        InputError: there is no such file, it has no column `image_url`, a row is too short or too long, or an
            image stands in it twice. It names the file that the table comes from.
    """
    origins = read_line_map(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if IMAGE_COLUMN not in (reader.fieldnames or []):
                raise InputError(
                    f"{origins.place(1)}: no column {IMAGE_COLUMN}; add one with the names of the images"
                )
            return _collect_rows(origins, reader)
    except FileNotFoundError:
        raise InputError(f"{origins.place()}: no such file; this dataset has no metadata") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{origins.place()}: not a comma-separated table in UTF-8 ({error}); export it again"
        ) from error


def _collect_rows(origins: LineMap, reader: "csv.DictReader[str]") -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for row in reader:
        name = row[IMAGE_COLUMN]
        if None in row or None in row.values():
            expected = f"expected {len(reader.fieldnames or [])} fields like the header"
            raise InputError(f"{origins.place(reader.line_num)}: {expected}; add or remove what differs")
        if name in rows:
            raise InputError(f"{origins.place(reader.line_num)}: {name} stands in an earlier line too; remove one")
        rows[name] = row
    return rows


def values_of(path: Path, images: Sequence[str], columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return for each image its values in the `columns` of the metadata at `path`.

    Raises:
        InputError: as for `read_metadata`, or a column or an image is not in the table.
    """
    metadata = read_metadata(path)
    known = list(next(iter(metadata.values()), {}))
    table = read_line_map(path).place()
    for column in columns:
        if column not in known:
            raise InputError(f"{table}: no column {column}; there are {', '.join(known)}")
    for image in images:
        if image not in metadata:
            raise InputError(f"{table}: no line for the annotated image {image}; add one")
    return {image: tuple(metadata[image][column] for column in columns) for image in images}


def group_name(values: Sequence[str]) -> str:
    """Return the name of the group that an image's `values` of the grouping columns make; "" where there are none.

    A blank value counts like any other. Images that nobody knows the type of may well be of one type: as a group
    of their own they stay on one side, drawn one by one they could stand on both.
    """
    return " / ".join(value.strip() or BLANK for value in values)
