"""From masks to polygons that give exactly the same masks when they are drawn, and their lines in annotations.csv.

The outline of each 8-connected region runs through the centers of its outermost pixels. One outline cannot
represent every region: one with a hole, or with a neck so thin that the outline runs back over itself, is drawn
with wrong pixels. Such a region is cut in two through the wrong pixels, as often as needed; the pieces touch
without overlap.
"""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from skimage.measure import find_contours, label, regionprops

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import FEWEST_VERTICES, HEADER, AnnotatedPolygon, ImageMask

Mask = NDArray[np.bool_]
Nodes = NDArray[np.float64]

HEADER_LINE = ";".join(HEADER)

# Just below the value of the foreground: contours run as close to its pixel centers as possible.
CONTOUR_LEVEL = 0.99


def polygonize(mask: Mask) -> Iterator[Nodes]:
    """Yield outlines (n, 2) of (x, y) from which `create_binary_mask` draws `mask` (height, width) again."""
    for region in regionprops(label(mask, connectivity=2)):
        top, left = region.bbox[:2]
        for nodes in _outlines_of_region(region.image):
            yield nodes + np.array([left, top])


def _outlines_of_region(region: Mask) -> Iterator[Nodes]:
    nodes = _outline(region)
    drawn = create_binary_mask(ImageMask("", [AnnotatedPolygon(nodes[0], nodes)]), *region.shape)
    wrong_rows = np.flatnonzero((drawn != region).any(axis=1))
    if not len(wrong_rows):
        yield nodes
        return
    # A single row is one run of pixels and always drawn right, so there are two or more rows to cut between.
    cut = min(int(wrong_rows[len(wrong_rows) // 2]), len(region) - 2) + 1
    for first_row, piece in ((0, region[:cut]), (cut, region[cut:])):
        for nodes in polygonize(piece):
            yield nodes + np.array([0, first_row])


def _outline(region: Mask) -> Nodes:
    """Follow the outermost pixels of one connected region; only the corners, but at least three vertices."""
    contours = find_contours(np.pad(region, 1).astype(np.float64), CONTOUR_LEVEL, fully_connected="high")
    outermost = max(contours, key=len)
    pixels = np.rint(outermost[:, ::-1]) - 1
    pixels = pixels[(pixels != np.roll(pixels, 1, axis=0)).any(axis=1)]
    steps = np.roll(pixels, -1, axis=0) - pixels
    corners = pixels[(steps != np.roll(steps, 1, axis=0)).any(axis=1)]
    if not len(corners):
        corners = np.argwhere(region)[:1, ::-1].astype(np.float64)
    missing = max(0, FEWEST_VERTICES - len(corners))
    return np.concatenate([corners, corners[-1:].repeat(missing, axis=0)])


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
