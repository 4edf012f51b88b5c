"""The user's own tables in the dialects of the pipeline, with the names that the images have there."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from microseg.common.errors import InputError
from microseg.common.tables import delimiter_of, read_lines, read_table, split_line
from microseg.micrographs.metadata import IMAGE_COLUMN


def table_lines(table: Path, names: Mapping[str, str]) -> Iterator[str]:
    """Yield every line of a table of annotations, the header too, in the published dialect.

    A line stays on its line, usable or not: whether it can be used is for the stage parse_csv to say, which can
    also leave it out.

    Args:
        table: the user's table, with semicolons, commas or tabs.
        names: the new names of the images.

    Raises:
        InputError: the table cannot be read, or a line cannot be split into fields.
    """
    delimiter, next_number = "", 1
    for number, line in read_lines(table):
        delimiter = delimiter or delimiter_of(line)
        try:
            fields = [field.strip() for field in split_line(line, delimiter)]
        except ValueError as error:
            raise InputError(f"{table}, line {number}: {error}; fix the line") from None
        if ";" in "".join(fields):
            raise InputError(f"{table}, line {number}: a field holds a semicolon; take it out")
        yield from [""] * (number - next_number)
        yield ";".join([names.get(fields[0], fields[0]), *fields[1:]])
        next_number = number + 1


def write_metadata(table: Path, target: Path, names: Mapping[str, str]) -> None:
    """Write the user's metadata with commas and the new names of the images; every line stays on its line."""
    header, rows = read_table(table)
    if IMAGE_COLUMN not in header:
        raise InputError(f"{table}, line 1: no column {IMAGE_COLUMN}; add one with the names of the images")
    column = header.index(IMAGE_COLUMN)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        next_number = 2
        for number, fields in rows:
            file.write("\n" * (number - next_number))
            fields[column] = names.get(fields[column], fields[column])
            writer.writerow(fields)
            next_number = number + 1
