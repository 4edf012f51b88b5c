"""Writing the lines of annotations.csv for outlines that come without a point."""

import numpy as np
import shapely
from numpy.typing import NDArray

from microseg.annotations.polygons import HEADER

HEADER_LINE = ";".join(HEADER)


def annotation_line(image: str, nodes: NDArray[np.float64]) -> str:
    """Write one outline, (n, 2) of (x, y), in the published dialect; its point is one inside it."""
    points = ", ".join(_point(x, y) for x, y in nodes.tolist())
    return f"{image};{_point(*_inner_point(nodes))};[{points}]"


def empty_line(image: str) -> str:
    """Write that an image was looked at and shows no island."""
    return f"{image};;"


def _point(x: float, y: float) -> str:
    return f"({_number(x)}, {_number(y)})"


def _number(value: float) -> str:
    """Write whole numbers without a point, as most of the published table does, others without any loss."""
    return str(int(value)) if value.is_integer() else repr(value)


def _inner_point(nodes: NDArray[np.float64]) -> tuple[float, float]:
    """Return a point inside an outline, or its first vertex where there is no inside."""
    if len(nodes) >= 3 and np.isfinite(nodes).all():
        point = shapely.point_on_surface(shapely.polygons(nodes))
        if not shapely.is_empty(point):
            return float(shapely.get_x(point)), float(shapely.get_y(point))
    return float(nodes[0, 0]), float(nodes[0, 1])
