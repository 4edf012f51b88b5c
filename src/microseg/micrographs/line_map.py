"""Where the user's own files hold what the tables of the raw dataset hold.

The tables of the raw dataset may be copies, of a table in another dialect, of a COCO file, or of masks. Whoever
has to fix a line needs the place in the file that they edit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from microseg.common.files import write_csv

LINE_MAP = "origins.csv"
HEADER = ("table", "line", "origin")


@dataclass(frozen=True)
class LineMap:
    """Where the lines of one table come from.

    Attributes:
        table: the table of the raw dataset, or a table that comes from nowhere else.
        file: the user's file that it was made from, None where there is none.
        lines: the places of lines that do not stand on the same line of `file`.
    """

    table: Path
    file: str | None = None
    lines: Mapping[int, str] = field(default_factory=dict)

    def of(self, line: int) -> str | None:
        """Return the place of a line in the user's own files, None where the table itself is all there is."""
        return self.lines.get(line) or (self.file and f"{self.file}, line {line}")

    def place(self, line: int | None = None) -> str:
        """Return the place of a line, or of the whole table, to be named in an error."""
        if line is None:
            return self.file or self.table.as_posix()
        return self.of(line) or f"{self.table.as_posix()}, line {line}"


def write_line_map(folder: Path, rows: Iterable[tuple[str, int | None, str]]) -> None:
    """Write origins.csv into the raw dataset: table, line and place; no line for the file of a whole table."""
    lines = ((table, "" if line is None else line, origin) for table, line, origin in rows)
    write_csv(folder / LINE_MAP, HEADER, lines)


def read_line_map(table: Path) -> LineMap:
    """Return where the lines of a table of the raw dataset come from; a dataset that was drawn has no origins."""
    path = table.parent / LINE_MAP
    if not path.is_file():
        return LineMap(table)
    import pandas as pd

    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = rows[rows["table"] == table.name]
    places = dict(zip(rows["line"].tolist(), rows["origin"].tolist(), strict=True))
    file = places.pop("", None)
    return LineMap(table, file, {int(line): origin for line, origin in places.items()})
