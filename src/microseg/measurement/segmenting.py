"""One micrograph from logits to islands, figures and pictures."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from microseg.measurement.fields import Labels, Mask, measure_field
from microseg.measurement.islands import island_table, label_islands
from microseg.measurement.settings import METHODS, PROBABILITIES, Method, Settings
from microseg.prediction.postprocessing import morphological_mask, otsu_threshold, sigmoid_mask

Logits = NDArray[np.floating]

ROWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class Segmentation:
    """What was found in one micrograph, everything in pixels."""

    mask: Mask
    labels: Labels
    probability: NDArray[np.float32]
    field: dict[str, float]
    """What `measure_field` returns."""
    islands: pd.DataFrame
    """What `island_table` returns."""
    sensitivity: dict[str, float]
    """The area fraction at other probabilities and by both methods, small islands included."""


def segment(logits: Logits, settings: Settings, smallest_area: float) -> Segmentation:
    """Turn the logits of a micrograph, (height, width), into islands and measure them.

    Args:
        logits: raw network output.
        settings: how; the smallest area of an island is given in pixels, as the scale may differ.
        smallest_area: islands of fewer pixels are left out.
    """
    sensitivity = {
        f"{probability:g}": float(sigmoid_mask(logits, probability).mean()) for probability in PROBABILITIES
    }
    masks = {method: _mask(logits, settings, method) for method in METHODS}
    sensitivity |= {method: float(mask.mean()) for method, mask in masks.items()}
    mask, labels = label_islands(masks[settings.method], smallest_area)
    probability = probabilities(logits)
    return Segmentation(
        mask=mask,
        labels=labels,
        probability=probability,
        field=measure_field(mask, labels, settings.direction),
        islands=island_table(labels, probability),
        sensitivity=sensitivity,
    )


def probabilities(logits: Logits) -> NDArray[np.float32]:
    """Return the sigmoid of logits, a band of rows at a time so that mosaics fit into memory."""
    result = np.empty(logits.shape, np.float32)
    for start in range(0, len(logits), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        result[rows] = expit(logits[rows].astype(np.float32))
    return result


def _mask(logits: Logits, settings: Settings, method: Method) -> Mask:
    if method == "sigmoid":
        return sigmoid_mask(logits, settings.threshold)
    threshold = settings.morphology_threshold
    limit = otsu_threshold(logits.astype(np.float32)) if threshold == "otsu" else float(threshold)
    # What opening and closing make of a pixel depends on those within twice either radius: a band that has them
    # gives what the whole would, for a mosaic in a fraction of the memory.
    margin = 2 * (settings.opening_radius + settings.closing_radius)
    mask = np.empty(logits.shape, bool)
    for top in range(0, len(logits), ROWS_AT_A_TIME):
        first, last = max(0, top - margin), top + ROWS_AT_A_TIME
        band = morphological_mask(
            logits[first : last + margin], limit, settings.opening_radius, settings.closing_radius
        )
        mask[top:last] = band[top - first : last - first]
    return mask
