"""One micrograph of a run: from its logits to a mask, islands, measurements, images and its record."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

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
from microseg.network.image_statistics import ENTROPY, ImageStatistics, image_statistics
from microseg.prediction.logits import LARGEST, Logits, mean_entropy, row_chunks
from microseg.prediction.postprocessing import morphological_mask, otsu_threshold, sigmoid_mask

THUMBNAIL_WIDTHS = ((50, 480), (200, 320))
"""The width of thumbnails in pixels, up to a number of fields: with 500 fields the report stays below 30 MB."""
SMALLEST_THUMBNAIL = 240

Record = dict[str, Any]
"""A finished micrograph as JSON: measured values, sensitivity, digest, warnings and thumbnails."""


class Micrograph(NamedTuple):
    """A micrograph as the network sees it."""

    grey: NDArray[np.uint8]
    """(height, width) of 8-bit grey values, without the information bar."""
    bar: NDArray[np.uint8]
    """The bar that was cut off below, perhaps without a row."""
    valid: ValidArea | None


@dataclass(frozen=True)
class RunContext:
    """What the micrographs of a run have in common, and the work on each of them."""

    settings: Settings
    intake: Intake
    training_statistics: ImageStatistics | None
    """Statistics of the model's training micrographs, where its folder has them."""
    partial_output: PartialOutput

    def read(self, image: InputImage) -> Micrograph:
        """Read a micrograph from its file."""
        scale = None if image.depth is None else self.intake.scales[image.depth]
        stored, rows = read_grey(image.path), image.height - image.bar
        grey = to_8_bit(stored, scale)
        valid = valid_area(stored[:rows], self.settings.valid_area, image.name)
        return Micrograph(grey[:rows], grey[rows:], valid)

    def measure(self, image: InputImage, micrograph: Micrograph, logits: Logits) -> Record:
        """Segment and measure a micrograph, write its images and its record, and return the record."""
        pixel_size_um = self.intake.pixel_size_um(image.name)
        # Before the labels of a mosaic take their memory.
        digest = pixel_digest(micrograph.grey)
        warnings = self._training_warnings(micrograph, logits, digest)
        smallest_area = self.settings.min_area.pixels(pixel_size_um)
        found = segment(logits, self.settings, smallest_area, micrograph.valid)
        path = partial(self.partial_output.image_path, image.stem)
        write_mask(path("masks", ".png"), found.mask)
        write_overlay(path("overlays", ".jpg"), micrograph.grey, found.mask, pixel_size_um)
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
            "thumbnails": thumbnails(micrograph.grey, found.mask, logits, self._thumbnail_width),
            "bar": bar_thumbnail(micrograph.bar, self._thumbnail_width) if image.bar else None,
        }
        islands = pd.DataFrame(to_units({column: found.islands[column] for column in COLUMNS}, pixel_size_um))
        islands.insert(0, "image", image.name)
        self.partial_output.write_record(image.stem, record, islands.to_csv(header=False, index=False))
        return record

    def _training_warnings(self, micrograph: Micrograph, logits: Logits, digest: str) -> list[str]:
        if self.training_statistics is None:
            return []
        grey, _, valid = micrograph
        if valid is not None:
            box = bounding_box(valid)
            grey, valid, logits = grey[box], valid[box], logits[box]
        statistics = image_statistics(grey, valid) | {ENTROPY: mean_entropy(logits)}
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
    # All is measured in the box around the valid area, and per valid area.
    box, specimen, part = (slice(None), slice(None)), 1.0, logits
    if valid is not None:
        box = bounding_box(valid)
        specimen = float(valid[box].mean())
        part = np.where(valid[box], logits[box], -LARGEST).astype(logits.dtype)
    sensitivity = {name: value / specimen for name, value in area_fractions(part, settings).items()}
    # The mask with small islands is not kept: the labels of a mosaic need its memory.
    mask, labels = label_islands(_mask(part, settings, settings.method), smallest_area)
    field, islands = measure_field(mask, labels, settings.direction, specimen), island_table(labels, part)
    if valid is not None:
        mask, labels = (_in_whole(one, valid.shape, box) for one in (mask, labels))
    return Segmentation(mask, labels, field, islands, sensitivity)


def _in_whole(part: NDArray[Any], shape: tuple[int, ...], box: tuple[slice, slice]) -> NDArray[Any]:
    """Return an array that is `part` in a box and 0 elsewhere."""
    whole = np.zeros(shape, part.dtype)
    whole[box] = part
    return whole


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
