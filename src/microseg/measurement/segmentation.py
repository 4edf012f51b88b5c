"""One micrograph from its logits to islands, figures, pictures and its record."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microseg.measurement.formatting import to_units
from microseg.measurement.intake import Intake, Picture
from microseg.measurement.islands import COLUMNS, island_table, label_islands
from microseg.measurement.model import differences, seen_in_training
from microseg.measurement.partial_output import PartialOutput
from microseg.measurement.pictures import (
    strip_address,
    thumbnails,
    write_labels,
    write_overlay,
    write_probability,
)
from microseg.measurement.settings import METHODS, PROBABILITIES, Method, Settings
from microseg.measurement.stereology import Labels, Mask, measure_field
from microseg.micrographs.conversion import read_grey, to_8_bit
from microseg.micrographs.images import write_mask
from microseg.network.image_statistics import ENTROPY, ImageStatistics, entropy, image_statistics, pixel_digest
from microseg.prediction.logits import Logits, probabilities, row_chunks
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
    for rows in row_chunks(len(logits)):
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
    for rows in row_chunks(len(logits)):
        first = max(0, rows.start - margin)
        band = morphological_mask(
            logits[first : rows.stop + margin], limit, settings.opening_radius, settings.closing_radius
        )
        mask[rows] = band[rows.start - first : rows.stop - first]
    return mask


THUMBNAIL_WIDTHS = ((50, 480), (200, 320))
SMALLEST_THUMBNAIL = 240
"""Up to 50 fields the small pictures of the report are 480 pixels wide: its page stays below 30 MB with 500."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Workplace:
    """What is the same for all micrographs of a run."""

    settings: Settings
    intake: Intake
    appearance: ImageStatistics | None
    unfinished: PartialOutput

    def read(self, picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return a micrograph as the network takes it, and the information bar that was cut off below it."""
        grey = to_8_bit(read_grey(picture.path), self.intake.bits)
        rows = picture.height - picture.bar
        return grey[:rows], grey[rows:]

    def finish(
        self, picture: Picture, micrograph: NDArray[np.uint8], bar: NDArray[np.uint8], logits: Logits
    ) -> Record:
        """Measure a micrograph with its logits, write its pictures and its record, and return the record."""
        size = self.intake.pixel_size_um(picture.name)
        # Before the labels of a mosaic take their memory.
        looks, digest = image_statistics(micrograph), pixel_digest(micrograph)
        looks[ENTROPY] = _mean_entropy(logits)
        found = segment(logits, self.settings, self.settings.min_area.pixels(size))
        folder = self.unfinished.folder
        write_mask(folder / "masks" / f"{picture.stem}.png", found.mask)
        write_overlay(folder / "overlays" / f"{picture.stem}.jpg", micrograph, found.mask)
        write_labels(folder / "labels" / f"{picture.stem}.tif", found.labels, size)
        if self.settings.probability:
            write_probability(folder / "probability" / f"{picture.stem}.tif", logits)
        warnings = [] if found.field["islands"] else ["no island was found"]
        if self.appearance is not None:
            warnings += seen_in_training(digest, self.appearance) + differences(looks, self.appearance)
        record = {
            "image": picture.name,
            # JSON has no NaN: what is not defined is left out.
            "values": {
                name: value for name, value in to_units(found.field, size).items() if not math.isnan(value)
            },
            "sensitivity": found.sensitivity,
            "looks": looks,
            "digest": digest,
            "warnings": warnings,
            "thumbnails": thumbnails(micrograph, found.mask, logits, self._thumbnail_width),
            "bar": strip_address(bar, self._thumbnail_width) if bar.size else None,
        }
        islands = pd.DataFrame(to_units({column: found.islands[column] for column in COLUMNS}, size))
        islands.insert(0, "image", picture.name)
        self.unfinished.write_record(picture.stem, record, islands.to_csv(header=False, index=False))
        return record

    @property
    def _thumbnail_width(self) -> int:
        fields = len(self.intake.pictures)
        return next((width for most, width in THUMBNAIL_WIDTHS if fields <= most), SMALLEST_THUMBNAIL)


def _mean_entropy(logits: Logits) -> float:
    """Return the mean entropy of a pixel's probability in bits, a band of rows at a time."""
    parts = [logits[rows] for rows in row_chunks(len(logits))]
    return math.fsum(entropy(probabilities(part)) * (len(part) / len(logits)) for part in parts)
