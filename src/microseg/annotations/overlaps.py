"""Where two polygons of one micrograph claim the same pixels."""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

from microseg.annotations.findings import Finding
from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask

OVERLAP = "overlap"

Corners = NDArray[np.float64]


def find_overlaps(image_mask: ImageMask, height: int, width: int) -> Iterator[Finding]:
    """Find every two polygons that share pixels, and how many, in a micrograph of `height` x `width` pixels."""
    polygons = image_mask.polygons
    # The outermost pixels that are drawn, which lie where the vertices are rounded to.
    pixels = [np.floor(polygon.nodes + 0.5) for polygon in polygons]
    lows = np.array([vertices.min(axis=0) for vertices in pixels]).reshape(-1, 2)
    highs = np.array([vertices.max(axis=0) for vertices in pixels]).reshape(-1, 2)
    for first, second in _neighbours(lows, highs):
        low = np.maximum(np.maximum(lows[first], lows[second]), 0)
        high = np.minimum(np.minimum(highs[first], highs[second]), (width - 1, height - 1))
        if (low > high).any():
            continue
        shared = _shared_pixels(polygons[first], polygons[second], low, high)
        if shared:
            detail = f"shares {shared} pixels with {polygons[first].place}"
            yield Finding(OVERLAP, image_mask.img_name, polygons[second].line, detail)


def _neighbours(lows: Corners, highs: Corners) -> list[tuple[int, int]]:
    """Return every two of n boxes, given by their corners (n, 2), that touch: the earlier one first, sorted."""
    boxes = shapely.box(lows[:, 0], lows[:, 1], highs[:, 0], highs[:, 1])
    pairs = shapely.STRtree(boxes).query(boxes).T
    return sorted((first, second) for first, second in pairs.tolist() if first < second)


def _shared_pixels(one: AnnotatedPolygon, other: AnnotatedPolygon, low: Corners, high: Corners) -> int:
    """Return how many pixels two polygons share between two corners (x, y)."""
    columns, rows = (high - low + 1).astype(int).tolist()
    first, second = (
        create_binary_mask(ImageMask("", [AnnotatedPolygon(polygon.center, polygon.nodes - low)]), rows, columns)
        for polygon in (one, other)
    )
    return int((first & second).sum())
