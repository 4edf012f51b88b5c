"""Findings: where something in the annotations is wrong or deserves a look."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from microseg.annotations.polygons import ImageMask
from microseg.common.errors import InputError
from microseg.common.files import output_file
from microseg.micrographs.line_map import LineMap

UNUSABLE_LINE, NO_IMAGE, OUTSIDE = "unusable_line", "polygon_without_image", "outside_the_image"

INVALID = {
    UNUSABLE_LINE: "fix or delete the line",
    NO_IMAGE: "put the image there or delete the line",
    OUTSIDE: "fix or delete the polygon, or lower download.crop_bottom",
}
"""The kinds of findings that leave nothing to use, each with its remedy."""


@dataclass(frozen=True)
class Issue:
    """One place to look at: `line` is that of the table of annotations, None where a whole image is meant."""

    kind: str
    image: str
    line: int | None
    detail: str


def refuse_invalid(findings: Sequence[Issue], on_invalid: Literal["error", "skip"], origins: LineMap) -> None:
    """Raise an InputError for the invalid finding on the earliest line, unless such are to be skipped.

    It names the place in the user's own file, which `origins` knows.
    """
    invalid = sorted((finding for finding in findings if finding.kind in INVALID), key=lambda one: one.line or 0)
    if invalid and on_invalid == "error":
        first = invalid[0]
        others = f" ({len(invalid) - 1} more like this)" if len(invalid) > 1 else ""
        place, remedy = origins.place(first.line), INVALID[first.kind]
        raise InputError(f"{place}: {first.detail}{others}; {remedy}, or set parse_csv.on_invalid to skip")


def refuse_emptiness(masks: Iterable[ImageMask], origins: LineMap) -> None:
    """Raise an InputError where no micrograph has a usable polygon."""
    if not any(len(mask) for mask in masks):
        raise InputError(f"{origins.place()}: no usable polygon at all; annotate some islands")


def count(findings: Iterable[Issue], kinds: Sequence[str]) -> dict[str, int]:
    """Return how many findings there are of each of `kinds`, zeros included."""
    counts = Counter(finding.kind for finding in findings)
    return {kind: counts[kind] for kind in kinds}


def write_issues(path: Path, findings: Iterable[Issue], origin_of: Callable[[int], str | None]) -> None:
    """Write the list that a person goes through: finding, image, line, detail, and origin.

    The line is that of data/raw/annotations.csv; its origin, the place in the user's own files, is empty where
    that table was not made from such files.
    """
    import pandas as pd

    rows = [
        (one.kind, one.image, one.line, one.detail, None if one.line is None else origin_of(one.line))
        for one in findings
    ]
    table = pd.DataFrame(rows, columns=["finding", "image", "line", "detail", "origin"])
    with output_file(path) as partial:
        table.astype({"line": "Int64"}).to_csv(partial, index=False, lineterminator="\n")
