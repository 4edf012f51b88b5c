"""Stereology of one field of view: quantities of the material estimated from its plane section.

The formulas are those of quantitative stereology (E. E. Underwood, Quantitative Stereology, Addison-Wesley 1970),
as used in ASTM E562 and E1245. Lengths are in pixels here; `microseg.measurement.formatting` converts them.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from microseg.prediction.logits import row_chunks

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer]
Direction = Literal["x", "y", "both"]

QUANTITIES = (
    *("area_fraction", "number_per_mm2", "number_without_specks_per_mm2", "mean_area_um2", "interceptions_per_mm"),
    *("mean_intercept_um", "mean_free_path_um", "boundary_per_mm"),
    *("interceptions_x_per_mm", "interceptions_y_per_mm", "interceptions_x_over_y"),
)
"""The quantities that are estimated for a specimen, by their columns."""

SPECK_AREA = 50
"""Islands of fewer pixels are specks: too few pixels to have a shape, and often noise."""


def measure_field(mask: Mask, labels: Labels, direction: Direction, specimen: float = 1.0) -> dict[str, float]:
    """Measure one field.

    Args:
        mask: (height, width), True in the islands.
        labels: (height, width), the same islands numbered from 1, 0 in the background.
        direction: direction of the test lines: x (rows), y (columns) or both.
        specimen: the fraction of the field that shows the specimen, where all islands are.

    Returns:
        The quantities in pixels, by column: area of the specimen; area fraction A_A = V_V; number of islands, and
        of specks among them; number per area N_A after Saltykov, with and without specks; mean area A_A / N_A;
        interceptions per length N_L, also along x and y alone; mean intercept length A_A / N_L; mean free path
        (1 - A_A) / N_L (R. L. Fullman, Trans. AIME 197:447, 1953); boundary area per volume S_V = 2 P_L = 4 N_L,
        which assumes an isotropic structure (C. S. Smith and L. Guttman, Trans. AIME 197:81, 1953). NaN where a
        quantity is not defined, such as the mean area without islands, or N_A where an island spans the field.
    """
    area = mask.size * specimen
    fraction = float(np.count_nonzero(mask)) / area
    counts, whole = saltykov_counts(touched_sides(labels)), island_areas(labels) >= SPECK_AREA
    number = float(counts.sum()) / area
    along = {name: value / specimen for name, value in interceptions_per_length(mask).items()}
    interceptions = along[direction]
    return {
        "area_um2": area,
        "area_fraction": fraction,
        "islands": len(counts),
        "specks": int(np.count_nonzero(~whole)),
        "number_per_mm2": number,
        "number_without_specks_per_mm2": float(counts[whole].sum()) / area,
        "mean_area_um2": _ratio(fraction, number),
        "interceptions_per_mm": interceptions,
        "mean_intercept_um": _ratio(fraction, interceptions),
        "mean_free_path_um": _ratio(1 - fraction, interceptions),
        "boundary_per_mm": 4 * interceptions,
        "interceptions_x_per_mm": along["x"],
        "interceptions_y_per_mm": along["y"],
    }


def island_areas(labels: Labels) -> NDArray[np.int64]:
    """Return the area of each island in pixels, in the order of the labels from 1 on."""
    areas = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    for rows in row_chunks(len(labels)):  # counting takes 8 bytes a pixel
        areas += np.bincount(labels[rows].ravel(), minlength=len(areas))
    return areas[1:]


def touched_sides(labels: Labels) -> NDArray[np.bool_]:
    """Return which sides of the image each island touches: (islands, 4) for top, bottom, left and right.

    Args:
        labels: (height, width), 0 in the background and 1, 2, ... in the islands.
    """
    touched = np.zeros((int(labels.max(initial=0)) + 1, 4), np.bool_)
    for column, side in enumerate((labels[0], labels[-1], labels[:, 0], labels[:, -1])):
        touched[np.unique(side), column] = True
    return touched[1:]


def saltykov_counts(touched: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what each island counts, so that windows that tile a plane count each island once between them.

    An island inside counts 1, one that touches a side 1/2, and one in a corner, where it touches two, 1/4: the
    rest of each belongs to the neighbouring fields (S. A. Saltykov, Stereometric Metallography, 1958). One that
    touches opposite sides is longer than the field: nobody knows how many fields share it, and its count is NaN.

    Args:
        touched: the sides each island touches, as `touched_sides` returns them.
    """
    counts = 0.5 ** touched.sum(axis=1)
    counts[touched[:, :2].all(axis=1) | touched[:, 2:].all(axis=1)] = math.nan
    return np.asarray(counts, np.float64)


def interceptions_per_length(mask: Mask) -> dict[Direction, float]:
    """Return N_L, the islands intercepted per pixel of test line, by the direction of the lines.

    Every row, every column, or both are test lines. Points where a line enters or leaves an island are counted,
    two for each island (N_L = P_L / 2), so that an island at the end of a line counts one half. Lines reach from
    the centre of the first pixel to that of the last: no boundary can be seen beyond these. NaN where no line has
    two pixels.
    """
    height, width = mask.shape
    rows, columns = height * (width - 1), width * (height - 1)
    across = int(np.count_nonzero(mask[:, 1:] != mask[:, :-1]))
    down = int(np.count_nonzero(mask[1:] != mask[:-1]))
    return {
        "x": _ratio(across / 2, rows),
        "y": _ratio(down / 2, columns),
        "both": _ratio((across + down) / 2, rows + columns),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
