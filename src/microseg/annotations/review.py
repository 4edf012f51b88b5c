"""The review of annotated islands: what people have decided about single islands, in the table review.csv.

A line is a verdict on one island, named by a point of it: keep it, remove it, redraw it, or add one that nobody
has outlined. The table that `microseg crossval` writes, islands_to_check.csv, has these columns; lines without a
verdict are still to be decided.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import shapely

from microseg.annotations.issues import Issue
from microseg.annotations.polygons import FEWEST_VERTICES, AnnotatedPolygon, ImageMask, parse_point, parse_points
from microseg.common.errors import InputError, nearest
from microseg.common.tables import read_table
from microseg.micrographs.line_map import LineMap, read_line_map, write_line_map

REVIEW = "review.csv"
COLUMNS = ("image", "island", "verdict", "by", "date", "outline")
VERDICTS = ("keep", "add", "remove", "redraw")
WITH_OUTLINE = ("add", "redraw")

TOLERANCE = 1.0
"""Pixels by which a point may lie outside of its island: masks reach half a pixel beyond outlines."""


@dataclass(frozen=True)
class Verdict:
    """What somebody has decided about an island; `island` is a point of it, and `outline` (n, 2) the new one."""

    image: str
    island: tuple[float, float] | None
    verdict: str
    outline: AnnotatedPolygon | None
    place: str


def copy_review(folder: Path, raw: Path) -> None:
    """Copy the review of a user's folder, if there is one, into the raw dataset."""
    if (folder / REVIEW).exists():
        shutil.copyfile(folder / REVIEW, raw / REVIEW)
        write_line_map(raw, [(REVIEW, None, (folder / REVIEW).as_posix())])


def _read_review(path: Path, first_line: int) -> list[Verdict]:
    """Read the verdicts; their outlines count as lines of the table of annotations, from `first_line` on."""
    if not path.is_file():
        return []
    line_map = read_line_map(path)
    header, rows = read_table(path, line_map.place)
    for column in COLUMNS:
        if column not in header:
            raise InputError(f"{line_map.place(1)}: no column {column}; a review has {', '.join(COLUMNS)}")
    verdicts: list[Verdict] = []
    for line, fields in rows:
        row = dict(zip(header, fields, strict=True))
        if row["verdict"]:
            try:
                verdicts.append(_verdict(row, first_line + len(verdicts), line_map.place(line)))
            except ValueError as error:
                raise InputError(f"{line_map.place(line)}: {error}") from None
    return verdicts


def _verdict(row: dict[str, str], line: int, place: str) -> Verdict:
    """Return the verdict of a line; ValueError with what is wrong."""
    verdict = row["verdict"]
    if verdict not in VERDICTS:
        raise ValueError(
            f"unknown verdict {verdict!r}; did you mean {nearest(verdict, VERDICTS)}? There are "
            f"{', '.join(VERDICTS)}"
        )
    if not row["by"]:
        raise ValueError("the column by is empty; say who decided")
    try:
        date.fromisoformat(row["date"])
    except ValueError:
        raise ValueError(f"{row['date']!r} is not a date; write one such as 2026-11-27") from None
    island = None
    if row["island"]:
        x, y = parse_point(row["island"], "the island")
        island = (x, y)
    elif verdict in ("remove", "redraw"):
        raise ValueError(f"{verdict} needs a point of the island, such as (627, 319), in the column island")
    outline = None
    if verdict in WITH_OUTLINE:
        nodes = np.array(parse_points(row["outline"] or "[]", "the outline")).reshape(-1, 2)
        if len(nodes) < FEWEST_VERTICES:
            raise ValueError(f"{verdict} needs an outline, such as [(720, 288), (725, 294), (731, 300)]")
        polygon = shapely.polygons(nodes)
        if "elf-inter" in (reason := shapely.is_valid_reason(polygon)):
            raise ValueError(f"the outline crosses itself ({reason}); draw it again")
        point = shapely.point_on_surface(polygon)
        center = nodes[0] if shapely.is_empty(point) else shapely.get_coordinates(point)[0]
        outline = AnnotatedPolygon(center, nodes, line, place)
    return Verdict(row["image"], island, verdict, outline, place)


def reviewed(
    masks: Sequence[ImageMask], unusable: Sequence[Issue], table: Path, line_map: LineMap
) -> tuple[list[ImageMask], LineMap]:
    """Apply the review beside a table of annotations, if there is one, to what `scan_annotations` has read of it.

    Returns:
        The annotations, and the map of their lines with those of the review.

    Raises:
        InputError: the review has other columns, or a verdict is unknown or incomplete, its outline crosses
            itself, its micrograph is not annotated, its point is in no island or in several, or an earlier one is
            on the same island.
    """
    lines = [polygon.line or 0 for mask in masks for polygon in mask.polygons]
    last_line = max([*lines, *(one.line or 0 for one in unusable)], default=0)
    verdicts = _read_review(table.with_name(REVIEW), last_line + 1)
    polygons: dict[str, list[AnnotatedPolygon | None]] = {mask.img_name: [*mask.polygons] for mask in masks}
    decided: dict[tuple[str, int], str] = {}
    for one in verdicts:
        if one.image not in polygons:
            raise InputError(f"{one.place}: {one.image} is not an annotated micrograph; correct the name")
        if one.verdict == "add":
            polygons[one.image].append(one.outline)
            continue
        if one.island is None:  # annotated rightly: no island where the network saw one
            continue
        number = _find_island(next(mask for mask in masks if mask.img_name == one.image), one.island, one.place)
        earlier = decided.setdefault((one.image, number), one.place)
        if earlier != one.place:
            raise InputError(f"{one.place}: {earlier} is a verdict on the same island; remove one of them")
        if one.verdict != "keep":
            polygons[one.image][number] = one.outline
    places = {one.outline.line: one.place for one in verdicts if one.outline and one.outline.line}
    return (
        [ImageMask(name, [one for one in kept if one is not None]) for name, kept in polygons.items()],
        replace(line_map, lines={**line_map.lines, **places}),
    )


def _find_island(mask: ImageMask, point: tuple[float, float], place: str) -> int:
    """Return the number of the polygon at a point, the first being 0."""
    outlines = [shapely.make_valid(shapely.polygons(polygon.nodes)) for polygon in mask.polygons]
    distances = np.array([outline.distance(shapely.Point(point)) for outline in outlines])
    found = np.flatnonzero(distances <= min(TOLERANCE, distances.min(initial=np.inf)))
    named = [number for number in found.tolist() if mask[number].center == point]
    if len(found) > 1 and not named:
        first, second = (mask[number].place for number in found[:2].tolist())
        raise InputError(
            f"{place}: the point {point} is in {first} and in {second}; give another point of the one"
        )
    if not len(found):
        raise InputError(
            f"{place}: {mask.img_name} has no island at {point}; give a point of one, x and y in pixels"
        )
    return int((named or found.tolist())[0])
