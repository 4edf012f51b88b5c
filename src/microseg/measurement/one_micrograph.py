"""One micrograph from its file to its results and its record."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microseg.measurement.intake import Intake
from microseg.measurement.islands import COLUMNS
from microseg.measurement.micrograph_folder import Picture
from microseg.measurement.model_world import differences, seen_in_training
from microseg.measurement.pictures import (
    strip_address,
    thumbnails,
    write_labels,
    write_overlay,
    write_probability,
)
from microseg.measurement.probability import Logits, probabilities
from microseg.measurement.segmenting import segment
from microseg.measurement.settings import Settings
from microseg.measurement.unfinished import Unfinished
from microseg.measurement.units import to_units
from microseg.micrographs.conversion import read_grey, to_8_bit
from microseg.micrographs.images import write_mask
from microseg.network.appearance import ENTROPY, Appearance, entropy, looks_of, pixel_digest
from microseg.prediction.logits import bands

THUMBNAIL_WIDTHS = ((50, 480), (200, 320))
SMALLEST_THUMBNAIL = 240
"""Up to 50 fields the small pictures of the report are 480 pixels wide: its page stays below 30 MB with 500."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Workplace:
    """What is the same for all micrographs of a run."""

    settings: Settings
    intake: Intake
    appearance: Appearance | None
    unfinished: Unfinished

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
        looks, digest = looks_of(micrograph), pixel_digest(micrograph)
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
    parts = [logits[rows] for rows in bands(len(logits))]
    return math.fsum(entropy(probabilities(part)) * (len(part) / len(logits)) for part in parts)
