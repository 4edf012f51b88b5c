"""Issues: places in the annotations that are wrong or worth a look."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from microseg.common.errors import InputError
from microseg.common.files import write_csv
from microseg.micrographs.line_map import LineMap

UNUSABLE_LINE, NO_IMAGE, OUTSIDE = "unusable_line", "polygon_without_image", "outside_the_image"

INVALID = {
    UNUSABLE_LINE: "fix or delete the line",
    NO_IMAGE: "put the image there or delete the line",
    OUTSIDE: "fix or delete the polygon, or lower download.crop_bottom",
}
"""The kinds of issues that make an annotation unusable, each with its remedy."""

# The first one keeps its name from version 0.1, for scripts that read it.
COLUMNS = ("finding", "image", "line", "detail", "source")


@dataclass(frozen=True)
class Issue:
    """One place to look at: `line` is that of the table of annotations, None if the whole image is meant."""

    kind: str
    image: str
    line: int | None
    detail: str


def refuse_invalid(issues: Sequence[Issue], on_invalid: Literal["error", "skip"], line_map: LineMap) -> None:
    """Check that no annotation is unusable, unless such annotations are to be skipped.

    Raises:
        InputError: there is an invalid issue; the message has the earliest one, with its place in the user's own
            file.
    """
    invalid = sorted((issue for issue in issues if issue.kind in INVALID), key=lambda issue: issue.line or 0)
    if invalid and on_invalid == "error":
        first = invalid[0]
        others = f" ({len(invalid) - 1} more like this)" if len(invalid) > 1 else ""
        place, remedy = line_map.place(first.line), INVALID[first.kind]
        raise InputError(f"{place}: {first.detail}{others}; {remedy}, or set parse_csv.on_invalid to skip")


def refuse_emptiness(masks: Iterable[Sized], line_map: LineMap) -> None:
    """Raise an InputError if no micrograph has a usable polygon."""
    if not any(len(mask) for mask in masks):
        raise InputError(f"{line_map.place()}: no usable polygon at all; annotate some islands")


def count(issues: Iterable[Issue], kinds: Sequence[str]) -> dict[str, int]:
    """Return the number of issues of each of `kinds`, including zeros."""
    counts = Counter(issue.kind for issue in issues)
    return {kind: counts[kind] for kind in kinds}


def write_issues(path: Path, issues: Iterable[Issue], source: Callable[[int], str | None]) -> None:
    """Write the list that a person goes through, with the columns COLUMNS.

    `source` returns the place of a line of annotations.csv in the user's own files, None if there is none.
    """
    rows = [
        (issue.kind, issue.image, issue.line, issue.detail, None if issue.line is None else source(issue.line))
        for issue in issues
    ]
    write_csv(path, COLUMNS, rows)
