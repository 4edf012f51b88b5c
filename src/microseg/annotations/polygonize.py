"""From masks to outlines along pixel edges, and to polygons that give exactly the same masks when they are drawn.

An outline of the dataset runs through the centers of the outermost pixels. A region with a hole is cut in two
through it, as often as needed; the pieces touch without overlap. Parts of a region that are joined only at the
corners of pixels have outlines of their own.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from skimage.measure import label

from microseg.annotations.polygons import FEWEST_VERTICES, HEADER

Mask = NDArray[np.bool_]
Nodes = NDArray[np.float64]

HEADER_LINE = ";".join(HEADER)

INSET = 0.25
"""So many pixels inside the edges of the outermost pixels, an outline encloses their centers, and its vertices,
rounded down, are these pixels."""


def polygonize(mask: Mask) -> Iterator[Nodes]:
    """Yield outlines (n, 2) of (x, y) from which `create_binary_mask` draws `mask` (height, width) again."""
    for region in trace_islands(mask).values():
        for piece in without_holes(region):
            pixels = np.floor(inset(piece))
            nodes = pixels[(pixels != np.roll(pixels, 1, axis=0)).any(axis=1)]
            if not len(nodes):  # a single pixel
                nodes = pixels[:1]
            missing = max(0, FEWEST_VERTICES - len(nodes))
            yield np.concatenate([nodes, nodes[-1:].repeat(missing, axis=0)])


def trace_islands(labels: NDArray[Any]) -> dict[int, Any]:
    """Return each island of numbered ones, (height, width), as a Polygon or MultiPolygon along pixel edges.

    Islands of different numbers must not touch.
    """
    pieces = label(labels > 0, connectivity=1)
    shells: dict[int, NDArray[np.int64]] = {}
    holes = defaultdict(list)
    for ring in _trace_rings(pieces):
        column, row = ring[0]
        # A ring starts along its top edge: what it surrounds is below, what surrounds it above.
        if pieces[row : row + 1, column : column + 1].any():
            shells[pieces[row, column]] = ring
        else:
            holes[pieces[row - 1, column]].append(ring)
    islands = defaultdict(list)
    for piece, shell in shells.items():
        column, row = shell[0]
        islands[int(labels[row, column])].append(shapely.Polygon(shell, holes[piece]))
    return {
        number: polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
        for number, polygons in sorted(islands.items())
    }


def _trace_rings(pieces: NDArray[Any]) -> Iterator[NDArray[np.int64]]:
    """Yield the corners (n, 2) of (x, y) of each ring of pixel edges around 4-connected pieces and their holes.

    A ring starts at the leftmost of its topmost corners, to the right. Pixel edges join the first corner in a row
    or column of the grid to the second, the third to the fourth, and so on. Where pixels touch at a corner only,
    two corners of rings meet: each ring stays with its piece, or with its hole if both pixels are of one piece.
    """
    padded = np.pad(pieces, 1)
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    is_double = ((nw > 0) == (se > 0)) & ((ne > 0) == (sw > 0)) & ((nw > 0) != (ne > 0))
    is_corner = (nw > 0) ^ (ne > 0) ^ (sw > 0) ^ (se > 0) | is_double
    joins_ne = (ne > 0) ^ ((nw == se) & (ne == sw))
    double = is_double[is_corner]
    rows, columns = (np.repeat(place, 1 + double) for place in np.nonzero(is_corner))
    numbers = np.arange(len(rows))
    ties = np.where(np.repeat(double & joins_ne[is_corner], 1 + double), -numbers, numbers)
    firsts, seconds = np.lexsort((ties, rows, columns)).reshape(-1, 2).T
    in_column = np.empty_like(numbers)
    in_column[firsts], in_column[seconds] = seconds, firsts
    across, corners = in_column.tolist(), np.column_stack([columns, rows])
    seen = [False] * len(corners)
    for start in range(0, len(corners), 2):
        ring, corner = [], start
        while not seen[corner]:
            in_row = corner ^ 1
            seen[corner] = seen[in_row] = True
            ring += [corner, in_row]
            corner = across[in_row]
        if ring:
            yield corners[ring]


def without_holes(island: Any) -> Iterator[Any]:
    """Yield valid polygons without holes that an island consists of; they share edges, but no pixel."""
    waiting = list(shapely.get_parts(island)[::-1])
    while waiting:
        polygon = waiting.pop()
        holes = shapely.get_num_interior_rings(polygon)
        if holes:
            left, top, right, bottom = shapely.bounds(polygon)
            _, hole_top, _, hole_bottom = shapely.bounds(shapely.get_interior_ring(polygon, holes // 2))
            cut = hole_top + (hole_bottom - hole_top + 1) // 2
            for low, high in ((cut, bottom), (top, cut)):
                waiting += list(shapely.get_parts(shapely.clip_by_rect(polygon, left, low, right, high)))
        elif not shapely.is_valid(polygon):  # clipping lets a ring touch itself at a corner on the cut
            waiting += list(shapely.get_parts(shapely.make_valid(polygon)))
        else:
            yield polygon


def rings(polygon: Any) -> list[NDArray[np.float64]]:
    """Return the vertices (n, 2) of each ring of a polygon, the outer one first, without the repeated last one."""
    return [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(polygon)]


def inset(polygon: Any) -> Nodes:
    """Return the outer ring of a polygon along pixel edges, moved inwards by `INSET`, as vertices (n, 2)."""
    return rings(shapely.buffer(polygon, -INSET, join_style="mitre"))[0]


def annotation_line(image: str, nodes: NDArray[np.float64]) -> str:
    """Return the line of one outline, (n, 2) of (x, y), in the published dialect, with a point inside it."""
    points = ", ".join(_pair(x, y) for x, y in nodes.tolist())
    return f"{image};{_pair(*_inner_point(nodes))};[{points}]"


def empty_line(image: str) -> str:
    """Return the line that declares that an image was annotated and shows no island."""
    return f"{image};;"


def _pair(x: float, y: float) -> str:
    return f"({_number(x)}, {_number(y)})"


def _number(value: float) -> str:
    """Write whole numbers without a decimal point, like most of the published table, and others without loss."""
    return str(int(value)) if value.is_integer() else repr(value)


def _inner_point(nodes: NDArray[np.float64]) -> tuple[float, float]:
    """Return a point inside an outline, or its first vertex if it encloses nothing."""
    if len(nodes) >= 3 and np.isfinite(nodes).all():
        point = shapely.point_on_surface(shapely.polygons(nodes))
        if not shapely.is_empty(point):
            return float(shapely.get_x(point)), float(shapely.get_y(point))
    return float(nodes[0, 0]), float(nodes[0, 1])
