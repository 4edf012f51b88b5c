"""One micrograph from logits to islands, figures and pictures."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from microseg.measurement.fields import Labels, Mask, measure_field
from microseg.measurement.islands import island_table, label_islands
from microseg.measurement.probability import Logits
from microseg.measurement.settings import METHODS, PROBABILITIES, Method, Settings
from microseg.prediction.logits import bands
from microseg.prediction.postprocessing import morphological_mask, otsu_threshold, sigmoid_mask


@dataclass(frozen=True)
class Segmentation:
    """What was found in one micrograph, everything in pixels."""

    mask: Mask
    labels: Labels
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
    sensitivity = area_fractions(logits, settings)
    # No mask but that of the islands outlives this line: those of a mosaic take memory that its labels need.
    mask, labels = label_islands(_mask(logits, settings, settings.method), smallest_area)
    return Segmentation(
        mask=mask,
        labels=labels,
        field=measure_field(mask, labels, settings.direction),
        islands=island_table(labels, logits),
        sensitivity=sensitivity,
    )


def area_fractions(logits: Logits, settings: Settings) -> dict[str, float]:
    """Return the area fraction at each of PROBABILITIES, then by both methods with their settings."""
    fractions = {f"{probability:g}": float(_above(logits, probability).mean()) for probability in PROBABILITIES}
    return fractions | {method: float(_mask(logits, settings, method).mean()) for method in METHODS}


def _above(logits: Logits, probability: float) -> Mask:
    mask = np.empty(logits.shape, bool)
    for rows in bands(len(logits)):
        mask[rows] = sigmoid_mask(logits[rows], probability)
    return mask


def _mask(logits: Logits, settings: Settings, method: Method) -> Mask:
    if method == "sigmoid":
        return _above(logits, settings.threshold)
    threshold = settings.morphology_threshold
    limit = otsu_threshold(logits) if threshold == "otsu" else float(threshold)
    # What opening and closing make of a pixel depends on those within twice either radius: a band that has them
    # gives what the whole would, for a mosaic in a fraction of the memory.
    margin = 2 * (settings.opening_radius + settings.closing_radius)
    mask = np.empty(logits.shape, bool)
    for rows in bands(len(logits)):
        first = max(0, rows.start - margin)
        band = morphological_mask(
            logits[first : rows.stop + margin], limit, settings.opening_radius, settings.closing_radius
        )
        mask[rows] = band[rows.start - first : rows.stop - first]
    return mask
