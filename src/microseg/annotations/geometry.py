"""The shape of polygons: vertices, area, crossings, and where their points lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from microseg.annotations.polygons import AnnotatedPolygon


@dataclass(frozen=True)
class Shapes:
    """What is known of n polygons, an array of n values each.

    Attributes:
        vertices: how many there are, a repeated first one included.
        areas: square pixels that the outline encloses, by the coordinates and not by the pixels drawn.
        flat: whether all vertices lie on one line or in one point.
        point_distances: pixels from the island's point to its polygon; 0 where it lies inside or on the outline.
        crossings: where and how the outline crosses or touches itself, empty where it does not.
    """

    vertices: NDArray[np.intp]
    areas: NDArray[np.float64]
    flat: NDArray[np.bool_]
    point_distances: NDArray[np.float64]
    crossings: list[str]


def measure_shapes(polygons: Sequence[AnnotatedPolygon]) -> Shapes:
    """Measure any number of polygons. Outlines that cross themselves count by the even-odd rule."""
    vertices = np.array([len(polygon) for polygon in polygons], np.intp)
    # Closed outlines, for a ring of shapely has at least four points.
    rings = [np.vstack([polygon.nodes, polygon.nodes[:1]]) for polygon in polygons]
    owners = np.repeat(np.arange(len(rings)), vertices + 1)
    outlines = shapely.linearrings(np.concatenate([np.empty((0, 2)), *rings]), indices=owners)
    areas = shapely.polygons(outlines)
    points = shapely.points(np.array([polygon.center for polygon in polygons]).reshape(-1, 2))
    inside = shapely.intersects(areas, points)
    distances = np.where(inside, 0.0, shapely.distance(outlines, points))
    flat = shapely.area(shapely.convex_hull(areas)) == 0
    reasons = shapely.is_valid_reason(areas)
    crossings = [
        "" if line or "elf-inter" not in reason else reason for line, reason in zip(flat, reasons, strict=True)
    ]
    return Shapes(vertices, shapely.area(areas), flat, distances, crossings)
