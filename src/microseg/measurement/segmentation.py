"""One micrograph of a run: from its logits to a mask, islands, measurements, images and its record."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microseg.measurement.formatting import to_units
from microseg.measurement.intake import InputImage, Intake
from microseg.measurement.islands import COLUMNS, island_table, label_islands
from microseg.measurement.model import out_of_range, seen_in_training
from microseg.measurement.output_images import (
    bar_thumbnail,
    thumbnails,
    write_labels,
    write_overlay,
    write_probability,
)
from microseg.measurement.partial_output import PartialOutput
from microseg.measurement.settings import METHODS, PROBABILITIES, Method, Settings
from microseg.measurement.stereology import Labels, Mask, measure_field
from microseg.micrographs.conversion import read_grey, to_8_bit
from microseg.micrographs.images import pixel_digest, write_mask
from microseg.micrographs.valid_area import ValidArea, bounding_box, valid_area
from microseg.network.image_statistics import ENTROPY, ImageStatistics, entropy, image_statistics
from microseg.prediction.logits import LARGEST, Logits, probabilities, row_chunks
from microseg.prediction.postprocessing import morphological_mask, otsu_threshold, sigmoid_mask

THUMBNAIL_WIDTHS = ((50, 480), (200, 320))
"""The width of thumbnails in pixels, up to a number of fields: with 500 fields the report stays below 30 MB."""
SMALLEST_THUMBNAIL = 240

Record = dict[str, Any]
"""A finished micrograph as JSON: measured values, sensitivity, digest, warnings and thumbnails."""


@dataclass(frozen=True)
class RunContext:
    """What the micrographs of a run have in common, and the work on each of them."""

    settings: Settings
    intake: Intake
    training_statistics: ImageStatistics | None
    """Statistics of the model's training micrographs, where its folder has them."""
    partial_output: PartialOutput

    def read(self, image: InputImage) -> tuple[NDArray[np.uint8], NDArray[np.uint8], ValidArea | None]:
        """Return a micrograph, (height, width) of 8-bit grey values, the bar cut off below, and its valid area."""
        scale = None if image.depth is None else self.intake.scales[image.depth]
        stored, rows = read_grey(image.path), image.height - image.bar
        grey = to_8_bit(stored, scale)
        return grey[:rows], grey[rows:], valid_area(stored[:rows], self.settings.valid_area, image.name)

    def measure(
        self,
        image: InputImage,
        micrograph: NDArray[np.uint8],
        bar: NDArray[np.uint8],
        valid: ValidArea | None,
        logits: Logits,
    ) -> Record:
        """Segment and measure a micrograph, write its images and its record, and return the record.

        Args:
            image: its file.
            micrograph: (height, width) as `read` returns it.
            bar: the information bar as `read` returns it.
            valid: its valid area as `read` returns it.
            logits: raw network output, (height, width).
        """
        pixel_size_um = self.intake.pixel_size_um(image.name)
        # Before the labels of a mosaic take their memory.
        digest = pixel_digest(micrograph)
        warnings = self._training_warnings(micrograph, valid, logits, digest)
        found = segment(logits, self.settings, self.settings.min_area.pixels(pixel_size_um), valid)
        path = partial(self.partial_output.image_path, image.stem)
        write_mask(path("masks", ".png"), found.mask)
        write_overlay(path("overlays", ".jpg"), micrograph, found.mask, pixel_size_um)
        write_labels(path("labels", ".tif"), found.labels, pixel_size_um)
        if self.settings.probability:
            write_probability(path("probability", ".tif"), logits)
        values = to_units(found.field, pixel_size_um)
        record = {
            "image": image.name,
            # JSON has no NaN: quantities that are not defined have no key.
            "values": {name: value for name, value in values.items() if not math.isnan(value)},
            "sensitivity": found.sensitivity,
            "digest": digest,
            "warnings": [*image.warnings, *_island_warnings(found.field), *warnings],
            "thumbnails": thumbnails(micrograph, found.mask, logits, self._thumbnail_width),
            "bar": bar_thumbnail(bar, self._thumbnail_width) if bar.size else None,
        }
        islands = pd.DataFrame(to_units({column: found.islands[column] for column in COLUMNS}, pixel_size_um))
        islands.insert(0, "image", image.name)
        self.partial_output.write_record(image.stem, record, islands.to_csv(header=False, index=False))
        return record

    def _training_warnings(
        self, micrograph: NDArray[np.uint8], valid: ValidArea | None, logits: Logits, digest: str
    ) -> list[str]:
        if self.training_statistics is None:
            return []
        if valid is not None:
            box = bounding_box(valid)
            micrograph, valid, logits = micrograph[box], valid[box], logits[box]
        statistics = image_statistics(micrograph, valid) | {ENTROPY: _mean_entropy(logits)}
        return seen_in_training(digest, self.training_statistics) + out_of_range(
            statistics, self.training_statistics
        )

    @property
    def _thumbnail_width(self) -> int:
        fields = len(self.intake.images)
        return next((width for most, width in THUMBNAIL_WIDTHS if fields <= most), SMALLEST_THUMBNAIL)


def _island_warnings(field: dict[str, float]) -> list[str]:
    if not field["islands"]:
        return ["no island was found"]
    if math.isnan(field["number_per_mm2"]):
        return ["an island reaches across the field, so that N_A and mean area of the specimen are not defined"]
    return []


def _mean_entropy(logits: Logits) -> float:
    """Return the mean entropy of a pixel's probability in bits, computed a chunk of rows at a time."""
    chunks = [logits[rows] for rows in row_chunks(len(logits))]
    return math.fsum(entropy(probabilities(chunk)) * (len(chunk) / len(logits)) for chunk in chunks)


@dataclass(frozen=True)
class Segmentation:
    """What was found in one micrograph, in pixels."""

    mask: Mask
    labels: Labels
    field: dict[str, float]
    """The quantities of `measure_field`."""
    islands: pd.DataFrame
    """The table of `island_table`."""
    sensitivity: dict[str, float]
    """The area fraction at other probabilities and by both methods, small islands included."""


def segment(
    logits: Logits, settings: Settings, smallest_area: float, valid: ValidArea | None = None
) -> Segmentation:
    """Turn the logits of a micrograph into islands and measure them.

    Args:
        logits: raw network output, (height, width).
        settings: those of the run.
        smallest_area: islands of fewer pixels are excluded; `settings` may give it in micrometres.
        valid: (height, width), where the micrograph shows the specimen; None for everywhere.
    """
    if valid is not None:
        return _segment_part(logits, settings, smallest_area, valid)
    sensitivity = area_fractions(logits, settings)
    # The mask with small islands is not kept: the labels of a mosaic need its memory.
    mask, labels = label_islands(_mask(logits, settings, settings.method), smallest_area)
    return Segmentation(
        mask=mask,
        labels=labels,
        field=measure_field(mask, labels, settings.direction),
        islands=island_table(labels, logits),
        sensitivity=sensitivity,
    )


def _segment_part(logits: Logits, settings: Settings, smallest_area: float, valid: ValidArea) -> Segmentation:
    """Segment the box around the valid area, in which the rest has no island, and measure per valid area."""
    box = bounding_box(valid)
    inside = valid[box]
    found = segment(np.where(inside, logits[box], -LARGEST).astype(logits.dtype), settings, smallest_area)
    fraction = float(inside.mean())
    mask, labels = np.zeros(valid.shape, bool), np.zeros(valid.shape, found.labels.dtype)
    mask[box], labels[box] = found.mask, found.labels
    per_area = {name for name in found.field if name == "area_fraction" or "_per_" in name}
    field = {name: value / fraction if name in per_area else value for name, value in found.field.items()}
    field["area_um2"] *= fraction
    # (1 - A_A) / N_L has to follow both; the mean area and intercept are ratios that stay.
    if field["interceptions_per_mm"]:
        field["mean_free_path_um"] = (1 - field["area_fraction"]) / field["interceptions_per_mm"]
    sensitivity = {name: value / fraction for name, value in found.sensitivity.items()}
    return Segmentation(mask, labels, field, found.islands, sensitivity)


def area_fractions(logits: Logits, settings: Settings) -> dict[str, float]:
    """Return the area fraction at each of PROBABILITIES, then by both methods with their settings."""
    fractions = {f"{probability:g}": float(_above(logits, probability).mean()) for probability in PROBABILITIES}
    return fractions | {method: float(_mask(logits, settings, method).mean()) for method in METHODS}


def _mask(logits: Logits, settings: Settings, method: Method) -> Mask:
    if method == "sigmoid":
        return _above(logits, settings.threshold)
    threshold = settings.morphology_threshold
    known = logits[logits > -LARGEST][np.newaxis] if threshold == "otsu" else logits
    limit = otsu_threshold(known) if threshold == "otsu" else float(threshold)
    # Opening and closing change a pixel depending on those within twice either radius. A chunk with that margin
    # gives the same result as the whole image, for a mosaic in a fraction of the memory.
    margin = 2 * (settings.opening_radius + settings.closing_radius)
    mask = np.empty(logits.shape, bool)
    for rows in row_chunks(len(logits)):
        first = max(0, rows.start - margin)
        chunk = morphological_mask(
            logits[first : rows.stop + margin], limit, settings.opening_radius, settings.closing_radius
        )
        mask[rows] = chunk[rows.start - first : rows.stop - first]
    return mask


def _above(logits: Logits, probability: float) -> Mask:
    mask = np.empty(logits.shape, bool)
    for rows in row_chunks(len(logits)):
        mask[rows] = sigmoid_mask(logits[rows], probability)
    return mask
