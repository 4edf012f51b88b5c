"""Every island of a mask: its size and shape, and the distance of its nearest neighbour."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, KDTree
from scipy.spatial.distance import pdist
from skimage.measure import label, regionprops_table

from microseg.measurement.stereology import SPECK_AREA, Labels, Mask, island_areas, touched_sides
from microseg.prediction.logits import Logits, probabilities, row_chunks

COLUMNS = (
    *("label", "area_um2", "equivalent_diameter_um", "feret_max_um", "feret_min_um", "aspect_ratio"),
    *("perimeter_um", "circularity", "orientation_deg", "nearest_um", "mean_probability", "touches_border"),
)

LEAST_ELONGATION = 1.15
"""Islands whose axes differ by a smaller factor have no orientation: pixels make disks up to 1.13 times longer."""

# Midpoints of the four edges of a pixel: scikit-image's convex hulls and contours go through them too.
EDGE_MIDPOINTS = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])


def label_islands(mask: Mask, smallest_area: float) -> tuple[Mask, NDArray[np.int32]]:
    """Number the islands of a mask, without those smaller than `smallest_area` pixels.

    Pixels that touch at a corner belong to the same island.

    Returns:
        The mask without the small islands, and the islands numbered from 1 in the order of their first rows; both
        (height, width).
    """
    labels = np.asarray(label(mask), np.int32)
    kept = np.concatenate([[False], island_areas(labels) >= smallest_area])
    if not kept[1:].all():
        numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
        for rows in row_chunks(len(labels)):
            labels[rows] = numbers[labels[rows]]
    return labels > 0, labels


def island_table(labels: Labels, logits: Logits | None = None) -> pd.DataFrame:
    """Measure every island.

    Args:
        labels: (height, width), 0 in the background and 1, 2, ... in the islands.
        logits: raw network output, the same shape; None where masks are not from a network.

    Returns:
        A row for each island with the columns COLUMNS, lengths and areas in pixels: area; diameter of the circle
        of equal area; largest and smallest Feret diameter and their ratio; perimeter by Crofton's formula in four
        directions; circularity, 4 pi area / perimeter^2, 1 for a circle; orientation of the long axis of the
        ellipse with the same moments, 0 to below 180 degrees counter-clockwise from horizontal; distance between
        its centroid and the nearest other one; mean probability; whether it touches the border. NaN where there is
        none: the shape of a speck, the orientation of an island that is as wide as it is long, the nearest island
        of a single one.
    """
    if not labels.any():
        return pd.DataFrame({column: [] for column in COLUMNS})
    found = regionprops_table(
        labels,
        logits,
        properties=(
            *("label", "area", "equivalent_diameter_area", "perimeter_crofton", "orientation"),
            *("axis_major_length", "axis_minor_length", "centroid"),
        ),
        extra_properties=(feret_diameters, *([] if logits is None else [mean_probability])),
    )
    largest, smallest = found["feret_diameters-0"], found["feret_diameters-1"]
    shape = np.where(found["area"] < SPECK_AREA, np.nan, 1.0)
    long = found["axis_major_length"] >= LEAST_ELONGATION * found["axis_minor_length"]
    return pd.DataFrame(
        {
            "label": found["label"],
            "area_um2": found["area"],
            "equivalent_diameter_um": found["equivalent_diameter_area"],
            "feret_max_um": largest,
            "feret_min_um": smallest,
            "aspect_ratio": shape * largest / smallest,
            "perimeter_um": found["perimeter_crofton"],
            "circularity": shape * 4 * np.pi * found["area"] / found["perimeter_crofton"] ** 2,
            # scikit-image measures from the row axis, which points down.
            "orientation_deg": np.where(long, shape * (np.degrees(found["orientation"]) - 90) % 180, np.nan),
            "nearest_um": _nearest_distances(np.column_stack([found["centroid-0"], found["centroid-1"]])),
            "mean_probability": found.get("mean_probability", np.nan),
            "touches_border": touched_sides(labels)[found["label"] - 1].any(axis=1),
        }
    )


def feret_diameters(region: Mask) -> NDArray[np.float64]:
    """Return the largest and the smallest distance between parallel tangents of a region, in pixels.

    The largest is the greatest distance between two corners of the convex hull. The smallest has one tangent along
    an edge of the hull (M. I. Shamos, Computational Geometry, 1978): it is the least extent across any edge.
    """
    # The corners of the hull lie at the first and the last pixel of a row; the other pixels are not needed.
    rows = np.flatnonzero(region.any(axis=1))
    first = region[rows].argmax(axis=1)
    last = region.shape[1] - 1 - region[rows, ::-1].argmax(axis=1)
    pixels = np.concatenate([np.column_stack([rows, first]), np.column_stack([rows, last])])
    points = (pixels[:, None] + EDGE_MIDPOINTS).reshape(-1, 2)
    hull = ConvexHull(points)
    corners = points[hull.vertices]
    extents = np.ptp(corners @ hull.equations[:, :2].T, axis=0)
    return np.array([pdist(corners).max(), extents.min()])


def mean_probability(region: Mask, logits: Logits) -> float:
    """Return the mean probability of foreground in a region; both arrays are (height, width)."""
    return float(probabilities(logits[region]).mean())


def _nearest_distances(centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(centroids) < 2:
        return np.full(len(centroids), np.nan)
    distances, _ = KDTree(centroids).query(centroids, k=2)
    return np.asarray(distances)[:, 1]
