"""Delimited text tables as people save them: semicolons, commas or tabs, any line ends, with or without a BOM.

Spreadsheets leave rows of delimiters below a table and columns without a name beside it; empty ones are ignored.
Tables are not read by pandas because error messages have to name the line of the user's file.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from microseg.common.errors import InputError

DELIMITERS = (";", ",", "\t")
EMPTY = "".join(DELIMITERS) + '" '
"""The characters of a line without content."""

# A polygonized outline can be longer than 131,072 characters, the default limit of the csv module for a field.
LONGEST_FIELD = 100_000_000

# A spreadsheet takes "-20 C (2)" for text, while "-2+cmd|' /C calc'!A0" starts a program.
FORMULA = re.compile(r"\s*([=@]|[-+].*([|!]|\w\())", re.DOTALL)
"""How a cell begins that a spreadsheet takes for a formula that can do harm."""


def as_text(cell: object) -> object:
    """Return a cell of a table to be written, with an apostrophe in front where it would be a formula."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def markdown_table(header: Sequence[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a table in Markdown, with an empty one after it."""
    first, *others = [f"| {' | '.join(map(str, row))} |" for row in (header, *rows)]
    return [first, f"|{'---|' * len(header)}", *others, ""]


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every line with content, with its number (the first is 1) and without its line end."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                stripped = line.rstrip("\n")
                if stripped.strip().strip(EMPTY) and not (number == 1 and is_separator_line(stripped)):
                    yield number, stripped
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(f"{path}: no such file; put the table there") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save the table as 'CSV UTF-8'") from None


def is_separator_line(line: str) -> bool:
    """Return whether a line, such as "sep=;", only tells a spreadsheet the delimiter."""
    return line.strip().lower().removeprefix("sep=") in DELIMITERS


def delimiter_of(header: str) -> str:
    """Return the delimiter that occurs most often in the header of a table: a semicolon, a comma or a tab."""
    return max(DELIMITERS, key=header.count)


def split_line(line: str, delimiter: str) -> list[str]:
    """Split one line of a table into its fields; ValueError if its quotation marks do not match."""
    if '"' not in line:
        return line.split(delimiter)
    csv.field_size_limit(LONGEST_FIELD)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ValueError(f"its quotation marks do not match ({error})") from None


def without_empty_end(fields: list[str], columns: int) -> list[str]:
    """Return the fields of a line, without empty ones at its end that are more than there are `columns`."""
    return fields[:columns] if not "".join(fields[columns:]).strip() else fields


def read_table(
    path: Path, place: Callable[[int], str] | None = None
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and the number and the fields of every line, of a table with a header.

    `place` returns what error messages call a line; by default, the path and the number of the line.

    Raises:
        InputError: no such file, not UTF-8 text, empty, a line with more or fewer fields than the header, or a
            column without a name of its own.
    """
    at = place or (lambda number: f"{path}, line {number}")
    lines = list(read_lines(path))
    if not lines:
        raise InputError(f"{path}: the table is empty; it needs a header line")
    delimiter = delimiter_of(lines[0][1])
    rows: list[tuple[int, list[str]]] = []
    for number, line in lines:
        try:
            fields = [field.strip() for field in split_line(line, delimiter)]
        except ValueError as error:
            raise InputError(f"{at(number)}: {error}; fix the line") from None
        columns = len(rows[0][1]) if rows else len(fields)
        fields = without_empty_end(fields, columns)
        if len(fields) != columns:
            raise InputError(f"{at(number)}: {len(fields)} fields where the header has {columns}; fix the line")
        rows.append((number, fields))
    return _without_empty_columns(at(rows[0][0]), rows)


def _without_empty_columns(
    place: str, rows: list[tuple[int, list[str]]]
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows below it, without columns that have neither a name nor content."""
    header = rows[0][1]
    used = [column for column, name in enumerate(header) if name or any(fields[column] for _, fields in rows)]
    names = [header[column] for column in used]
    if "" in names:
        number = used[names.index("")] + 1
        raise InputError(f"{place}: column {number} has no name; name it, or empty it")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{place}: two columns are named {repeated}; rename one of them")
    return names, [(number, [fields[column] for column in used]) for number, fields in rows[1:]]
