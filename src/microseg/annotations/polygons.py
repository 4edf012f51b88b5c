"""The polygons that annotators drew on micrographs, and the table in which they are published.

A line of the table is `image_url;point;polygon`: the file name of a micrograph, a point inside one island such as
`(627, 319)`, and the island's outline such as `[(720, 288), (725, 294), (731, 300)]`. A line that has a name but
neither point nor polygon (`IMG_00001.png;;`) declares that the micrograph was annotated and shows no island.

Coordinates are pixels, x to the right and y down; (0, 0) is the center of the top left pixel. They may lie outside
the micrograph. The stages exchange polygons as JSON, one micrograph per line.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from microseg.annotations.issues import UNUSABLE_LINE, Issue
from microseg.common.errors import InputError
from microseg.common.files import is_file_name, output_file
from microseg.common.tables import delimiter_of, read_lines, split_line, without_empty_end
from microseg.micrographs.line_map import LineMap

HEADER = ("image_url", "point", "polygon")
FEWEST_VERTICES = 3
LARGEST_COORDINATE = 1_000_000
LONGEST_QUOTE = 60


@dataclass(frozen=True, eq=False)
class AnnotatedPolygon:
    """One annotated island; its length is the number of its vertices, its items are the vertices (x, y).

    Attributes:
        center: the point (x, y) that stands for the island.
        nodes: the vertices in order, a read-only float array (n, 2) of (x, y), n >= 3; the last joins the first.
        line: the line of the table that it was read from, None if it was not read from a table.
        source: where the user's own files hold it, None if that table is the user's own.
    """

    center: tuple[float, float]
    nodes: NDArray[np.float64]
    line: int | None = None
    source: str | None = None

    def __init__(
        self,
        center: Sequence[float] | NDArray[np.float64],
        nodes: ArrayLike,
        line: int | None = None,
        source: str | None = None,
    ) -> None:
        x, y = center
        vertices = np.array(nodes, dtype=np.float64)
        if vertices.ndim != 2 or vertices.shape[1] != 2 or len(vertices) < FEWEST_VERTICES:
            raise ValueError(f"a polygon needs at least 3 vertices (x, y), not an array of shape {vertices.shape}")
        vertices.setflags(write=False)
        object.__setattr__(self, "center", (float(x), float(y)))
        object.__setattr__(self, "nodes", vertices)
        object.__setattr__(self, "line", line)
        object.__setattr__(self, "source", source)

    @property
    def place(self) -> str:
        """The place where a user finds the polygon."""
        return self.source or f"line {self.line}"

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, index: int) -> tuple[float, float]:
        x, y = self.nodes[index].tolist()
        return x, y

    def __eq__(self, other: object) -> bool:
        """Compare point and vertices; the line and the source do not matter."""
        if not isinstance(other, AnnotatedPolygon):
            return NotImplemented
        return self.center == other.center and np.array_equal(self.nodes, other.nodes)

    def __hash__(self) -> int:
        return hash((self.center, len(self.nodes)))


@dataclass
class ImageMask:
    """All annotated islands of one micrograph; its length is their number, its items are the polygons."""

    img_name: str
    polygons: list[AnnotatedPolygon] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.polygons)

    def __getitem__(self, index: int) -> AnnotatedPolygon:
        return self.polygons[index]

    def add_polygon(self, polygon: AnnotatedPolygon) -> None:
        """Add one more island."""
        self.polygons.append(polygon)


def read_annotations(csv_path: Path | str) -> list[ImageMask]:
    """Read a table of polygons; the micrographs come in the order in which the table first names them.

    Raises:
        InputError: the file cannot be read, is empty or has another header, or a line cannot be used.
    """
    masks, unusable = scan_annotations(csv_path)
    for problem in unusable:
        raise InputError(
            f"{csv_path}, line {problem.line}: {problem.detail}; fix or delete the line, "
            "or set parse_csv.on_invalid to skip"
        )
    return masks


def scan_annotations(csv_path: Path | str, line_map: LineMap | None = None) -> tuple[list[ImageMask], list[Issue]]:
    """Read a table of polygons like `read_annotations`, but return unusable lines instead of raising an error.

    `line_map` maps its lines to the files that it was made from.

    Raises:
        InputError: the file cannot be read, is empty, has another header, or has no line below it.
    """
    path = Path(csv_path)
    line_map = line_map or LineMap(path)
    lines = read_lines(path)
    delimiter = delimiter_below_header(lines, line_map)
    masks: dict[str, ImageMask] = {}
    unusable: list[Issue] = []
    for number, line in lines:
        try:
            name, polygon = _parse_line(split_line(line, delimiter), number, line_map.source(number))
        except ValueError as error:
            unusable.append(Issue(UNUSABLE_LINE, line.split(delimiter)[0].strip(' "')[:80], number, str(error)))
            continue
        mask = masks.setdefault(name, ImageMask(name))
        if polygon is not None:
            mask.add_polygon(polygon)
    if are_fractions(polygon.nodes for mask in masks.values() for polygon in mask.polygons):
        raise InputError(
            f"{line_map.place()}: all coordinates lie between 0 and 1, so they are fractions of the width and "
            "height; write them in pixels"
        )
    if not masks and not unusable:
        raise InputError(f"{line_map.place()}: no annotation below the header; add one polygon a line")
    return list(masks.values()), unusable


def delimiter_below_header(lines: Iterator[tuple[int, str]], line_map: LineMap) -> str:
    """Read the header, the first of a table's lines, and return the delimiter.

    Raises:
        InputError: there is no line, or it is not the header.
    """
    number, header = next(lines, (0, ""))
    if not header:
        raise InputError(
            f"{line_map.place()}: the table is empty; it needs the header {';'.join(HEADER)} and polygons below it"
        )
    delimiter = delimiter_of(header)
    with suppress(ValueError):
        names = [name.strip() for name in split_line(header, delimiter)]
        if tuple(without_empty_end(names, len(HEADER))) == HEADER:
            return delimiter
    raise InputError(f"{line_map.place(number)}: the header is {header[:80]!r}; it has to be {';'.join(HEADER)}")


def _parse_line(fields: list[str], line: int, source: str | None) -> tuple[str, AnnotatedPolygon | None]:
    """Return a line's image and polygon, None if it declares that there is none; ValueError with the reason."""
    fields = without_empty_end(fields, len(HEADER))
    if len(fields) != len(HEADER):
        raise ValueError(f"{len(fields)} fields instead of 3 (image; point; polygon)")
    name, point, polygon = fields[0].strip(), fields[1], fields[2]
    if not is_file_name(name):
        raise ValueError(f"{_shortened(name)} is not the name of an image file")
    if not point.strip() and not polygon.strip():
        return name, None
    center, nodes = parse_point(point, "the point"), parse_points(polygon, "the polygon")
    if len(nodes) < 2 * FEWEST_VERTICES:
        raise ValueError(f"the polygon has {len(nodes) // 2} vertices, it needs at least {FEWEST_VERTICES}")
    return name, AnnotatedPolygon(center, np.array(nodes).reshape(-1, 2), line, source)


# Possessive quantifiers (++) let the expressions take linear time on any text. Groups have none: before Python
# 3.11.5 they could match too much (python/cpython issue 106052), and since a group matches in only one way,
# backtracking over it is quick. Without parentheses, the accepted texts are JSON, and json parses numbers twice as
# fast as float().
_NUMBER = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?+[0-9]++)?"
_POINT = rf"\( *+{_NUMBER} *+, *+{_NUMBER} *+\)"
_POINT_FIELD = re.compile(rf" *+{_POINT} *+")
_LIST_FIELD = re.compile(rf" *+\[ *+(?:{_POINT}(?: *+, *+{_POINT})*)? *+\] *+")
_WITHOUT_PARENTHESES = str.maketrans("()", "  ")


def parse_point(text: str, what: str) -> list[float]:
    """Return the two numbers of a point; ValueError, which calls the text `what`, if it is not a point."""
    if not _POINT_FIELD.fullmatch(text):
        raise ValueError(f"{what} {_shortened(text)} is not a pair of numbers such as (627, 319)")
    return _numbers(f"[{text}]", what)


def parse_points(text: str, what: str) -> list[float]:
    """Return the numbers x, y, x, y, ... of a list of points, maybe empty; ValueError if it is not such a list."""
    if not _LIST_FIELD.fullmatch(text):
        example = "[(720, 288), (725, 294)]"
        raise ValueError(f"{what} {_shortened(text)} is not a list of pairs of numbers such as {example}")
    return _numbers(text, what)


def _shortened(text: str) -> str:
    """Return a text in quotation marks, only the beginning of a long one."""
    return repr(text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}...")


def _numbers(text: str, what: str) -> list[float]:
    numbers: list[float] = json.loads(text.translate(_WITHOUT_PARENTHESES))
    if max(numbers, default=0) > LARGEST_COORDINATE or min(numbers, default=0) < -LARGEST_COORDINATE:
        raise ValueError(f"{what} has a coordinate beyond {LARGEST_COORDINATE:,} pixels")
    return numbers


def are_fractions(polygons: Iterable[NDArray[np.float64]]) -> bool:
    """Return whether polygons, (n, 2) each, hold fractions of the width and height: nothing below 0 or above 1."""
    is_whole = True
    for nodes in polygons:
        if nodes.min(initial=0) < 0 or nodes.max(initial=0) > 1:
            return False
        is_whole = is_whole and bool((nodes % 1 == 0).all())
    return not is_whole


def write_polygons(path: Path, masks: Iterable[ImageMask]) -> None:
    """Write the polygons of all micrographs as JSON, one micrograph per line, in the given order."""
    with output_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for mask in masks:
            polygons = [_record(polygon) for polygon in mask.polygons]
            file.write(json.dumps({"image": mask.img_name, "polygons": polygons}, ensure_ascii=False) + "\n")


def _record(polygon: AnnotatedPolygon) -> dict[str, Any]:
    record = {"center": polygon.center, "nodes": polygon.nodes.tolist(), "line": polygon.line}
    return record if polygon.source is None else {**record, "source": polygon.source}


def read_polygons(path: Path) -> list[ImageMask]:
    """Read what `write_polygons` wrote.

    Raises:
        InputError: there is no such file, or a line was not written by `write_polygons`.
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
        return ImageMask(record["image"], [AnnotatedPolygon(**polygon) for polygon in record["polygons"]])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{place}: not a line of polygons ({error}); rerun the stage parse_csv") from error


def most_annotated(masks: Iterable[ImageMask], n: int) -> list[tuple[str, int]]:
    """Return the `n` micrographs with the most islands and their numbers; ties keep the given order."""
    counts = [(mask.img_name, len(mask)) for mask in masks]
    return sorted(counts, key=lambda pair: pair[1], reverse=True)[:n]
