"""Where the user's own files hold the lines of the raw dataset's tables.

A table of the raw dataset may have been converted: from a table in another dialect, a COCO file, or masks. To
correct a line, users need its place in the file that they edit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from microseg.common.files import write_csv
from microseg.common.tables import read_table

LINE_MAP = "line_map.csv"
HEADER = ("table", "line", "source")


@dataclass(frozen=True)
class LineMap:
    """Maps the lines of one table to the files they were made from.

    Attributes:
        table: a table of the raw dataset, or one that was not made from other files.
        file: the user's file that the whole table was made from, None if there is none.
        lines: the places of lines that do not have the same number in `file`.
    """

    table: Path
    file: str | None = None
    lines: Mapping[int, str] = field(default_factory=dict)

    def source(self, line: int) -> str | None:
        """Return the place of a line in the user's own files, None if the table was not made from other files."""
        return self.lines.get(line) or (self.file and f"{self.file}, line {line}")

    def place(self, line: int | None = None) -> str:
        """Return the place of a line, or of the whole table, as error messages name it."""
        if line is None:
            return self.file or self.table.as_posix()
        return self.source(line) or f"{self.table.as_posix()}, line {line}"


def write_line_map(folder: Path, rows: Iterable[tuple[str, int | None, str]]) -> None:
    """Write line_map.csv into a raw dataset, or add rows to it.

    Args:
        folder: the raw dataset.
        rows: name of a table, a line of it (None for the table as a whole), and the place in the user's own files.
    """
    path = folder / LINE_MAP
    known = [fields for _, fields in read_table(path)[1]] if path.is_file() else []
    lines = [(table, "" if line is None else line, source) for table, line, source in rows]
    write_csv(path, HEADER, [*known, *lines])


def read_line_map(table: Path) -> LineMap:
    """Return the line map of a table of the raw dataset; an empty one if the dataset has no line_map.csv."""
    path = table.parent / LINE_MAP
    if not path.is_file():
        return LineMap(table)
    import pandas as pd

    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = rows[rows["table"] == table.name]
    sources = dict(zip(rows["line"].tolist(), rows["source"].tolist(), strict=True))
    file = sources.pop("", None)
    return LineMap(table, file, {int(line): source for line, source in sources.items()})
