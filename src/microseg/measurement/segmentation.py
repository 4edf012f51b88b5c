"""One micrograph of a run: from its logits to a mask, islands, measurements, images and its record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microseg.evaluation.intervals import FEWEST_UNITS
from microseg.measurement.formatting import to_units
from microseg.measurement.intake import InputImage, Intake
from microseg.measurement.integral_range import fraction_interval
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
from microseg.micrographs.images import pixel_digest, read_mask, write_mask
from microseg.micrographs.valid_area import ValidArea, bounding_box, valid_area
from microseg.network.image_statistics import ENTROPY, ImageStatistics, image_statistics
from microseg.prediction.logits import LARGEST, Logits, row_chunks
from microseg.prediction.postprocessing import morphological_mask, otsu_threshold, sigmoid_mask
from microseg.prediction.reliability import mean_entropy

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
    smallest_area: float
    """Islands of fewer pixels are excluded."""
    digest: str
    """Digest of its pixels."""


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
    """The area fraction at other probabilities and by both methods, small islands included; needs logits."""


@dataclass(frozen=True)
class RunContext:
    """What the micrographs of a run have in common: how they are read, and where their results go."""

    settings: Settings
    intake: Intake
    partial_output: PartialOutput

    def read(self, image: InputImage) -> Micrograph:
        """Read a micrograph from its file."""
        scale = None if image.depth is None else self.intake.scales[image.depth]
        stored, rows = read_grey(image.path), image.height - image.bar
        grey = to_8_bit(stored, scale)
        valid = valid_area(stored[:rows], self.settings.valid_area, image.name)
        smallest_area = self.settings.min_area.pixels(self.intake.pixel_size_um(image.name))
        # The digest here, before the labels of a mosaic take their memory.
        return Micrograph(grey[:rows], grey[rows:], valid, smallest_area, pixel_digest(grey[:rows]))

    def record(
        self,
        image: InputImage,
        micrograph: Micrograph,
        found: Segmentation,
        logits: Logits | None = None,
        warnings: Sequence[str] = (),
    ) -> Record:
        """Write the images and the record of a micrograph, and return the record.

        With the logits, (height, width), if its islands come from a network, and what there is to say of it.
        """
        pixel_size_um = self.intake.pixel_size_um(image.name)
        path = partial(self.partial_output.image_path, image.stem)
        write_mask(path("masks", ".png"), found.mask)
        write_overlay(path("overlays", ".jpg"), micrograph.grey, found.mask, pixel_size_um)
        write_labels(path("labels", ".tif"), found.labels, pixel_size_um)
        if self.settings.probability and logits is not None:
            write_probability(path("probability", ".tif"), logits)
        values = to_units(found.field, pixel_size_um)
        record = {
            "image": image.name,
            # JSON has no NaN: quantities that are not defined have no key.
            "values": {name: value for name, value in values.items() if not math.isnan(value)},
            "sensitivity": found.sensitivity,
            "digest": micrograph.digest,
            "warnings": [*image.warnings, *_island_warnings(found.field), *warnings],
            "thumbnails": thumbnails(micrograph.grey, found.mask, logits, self._thumbnail_width),
            "bar": bar_thumbnail(micrograph.bar, self._thumbnail_width) if image.bar else None,
        }
        islands = pd.DataFrame(to_units({column: found.islands[column] for column in COLUMNS}, pixel_size_um))
        islands.insert(0, "image", image.name)
        self.partial_output.write_record(image.stem, record, islands.to_csv(header=False, index=False))
        return record

    @property
    def _thumbnail_width(self) -> int:
        fields = len(self.intake.images)
        return next((width for most, width in THUMBNAIL_WIDTHS if fields <= most), SMALLEST_THUMBNAIL)


def few_fields_table(context: RunContext, fields: pd.DataFrame) -> pd.DataFrame:
    """Return intervals of the area fraction by the integral range for the specimens with one or two fields.

    From the masks that the run has written; `fields` is the table of fields, each of them once. `reason` says why
    a specimen has no interval, and is empty where it has one.
    """
    images, rows = {image.name: image for image in context.intake.images}, []
    for specimen, group in fields.groupby("specimen", sort=False):
        if len(group) >= FEWEST_UNITS:
            continue
        here = [images[name] for name in group["image"]]
        masks = [read_mask(context.partial_output.image_path(one.stem, "masks", ".png")) for one in here]
        valid = [context.read(one).valid if one.valid_area else None for one in here]
        shown = [np.ones_like(mask) if one is None else one for mask, one in zip(masks, valid, strict=True)]
        size, *others = dict.fromkeys(context.intake.pixel_size_um(one.name) for one in here)
        found = "fields of different pixel sizes" if others else fraction_interval(masks, shown)
        row = {"specimen": specimen, "fields": len(group), "reason": found}
        if not isinstance(found, str):
            row |= {"reason": "", "area_fraction": found.fraction, "low": found.low, "high": found.high}
            row |= {"integral_range_um2": found.integral_range_px2}
            row |= {"area_for_10_percent_um2": found.area_for(0.1)}
        rows.append(to_units(row, size))
    return pd.DataFrame(rows)


def _island_warnings(field: dict[str, float]) -> list[str]:
    if not field["islands"]:
        return ["no island was found"]
    if math.isnan(field["number_per_mm2"]):
        return ["an island reaches across the field, so that N_A and mean area of the specimen are not defined"]
    return []


def training_warnings(micrograph: Micrograph, logits: Logits, statistics: ImageStatistics | None) -> list[str]:
    """Return where a micrograph differs from those of the training, whose statistics may be known."""
    if statistics is None:
        return []
    grey, valid = micrograph.grey, micrograph.valid
    if valid is not None:
        box = bounding_box(valid)
        grey, valid, logits = grey[box], valid[box], logits[box]
    found = image_statistics(grey, valid) | {ENTROPY: mean_entropy(logits)}
    return seen_in_training(micrograph.digest, statistics) + out_of_range(found, statistics)


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
    if valid is not None:
        box = bounding_box(valid)
        logits = np.where(valid[box], logits[box], -LARGEST).astype(logits.dtype)
    # The mask with small islands is not kept: the labels of a mosaic need its memory.
    found = _measured(_mask(logits, settings, settings.method), logits, settings, smallest_area, valid)
    specimen = 1.0 if valid is None else float(valid[box].mean())
    sensitivity = {name: value / specimen for name, value in area_fractions(logits, settings).items()}
    return replace(found, sensitivity=sensitivity)


def measure_mask(
    mask: Mask, settings: Settings, smallest_area: float, valid: ValidArea | None = None
) -> Segmentation:
    """Measure the islands of a mask, (height, width); arguments as for `segment`."""
    part = mask if valid is None else (mask & valid)[bounding_box(valid)]
    return _measured(part, None, settings, smallest_area, valid)


def _measured(
    mask: Mask, logits: Logits | None, settings: Settings, smallest_area: float, valid: ValidArea | None
) -> Segmentation:
    """Measure the islands of a mask in the box around the valid area."""
    specimen = 1.0 if valid is None else float(valid[bounding_box(valid)].mean())
    mask, labels = label_islands(mask, smallest_area)
    field, islands = measure_field(mask, labels, settings.direction, specimen), island_table(labels, logits)
    if valid is not None:
        mask, labels = (_in_whole(one, valid.shape, bounding_box(valid)) for one in (mask, labels))
    return Segmentation(mask, labels, field, islands, {})


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
