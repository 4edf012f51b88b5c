"""What a user decides about a segmentation, checked."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from microseg.common.errors import InputError
from microseg.measurement.stereology import Direction
from microseg.micrographs.pixel_size import MICROMETRES, PixelSize, parse_number

Crop = int | Literal["auto"]
Method = Literal["sigmoid", "morphology"]
METHODS: tuple[Method, ...] = ("sigmoid", "morphology")

PROBABILITIES = (0.4, 0.5, 0.6)
"""The probabilities at which the area fraction is stated beside the chosen one, to show how firm it is."""

SMALLEST_TILE, TILE_MULTIPLE = 64, 16


@dataclass(frozen=True)
class Area:
    """A smallest area of islands, in square micrometres or in pixels."""

    number: float
    in_pixels: bool

    def pixels(self, pixel_size_um: float | None) -> float:
        """Return it in pixels. InputError where it is in micrometres and there is no scale."""
        if self.in_pixels or not self.number:
            return self.number
        if pixel_size_um is None:
            raise InputError("--min-area: no pixel size is known, so give it in pixels, such as 20px")
        return self.number / pixel_size_um**2


@dataclass(frozen=True)
class Settings:
    """How micrographs are segmented and measured."""

    method: Method = "sigmoid"
    threshold: float = 0.5
    """For sigmoid: the probability above which a pixel is foreground."""
    morphology_threshold: float | Literal["otsu"] = "otsu"
    opening_radius: int = 3
    closing_radius: int = 3
    direction: Direction = "both"
    min_area: Area = Area(0, in_pixels=True)
    crop_bottom: Crop = 0
    tile_size: int | None = None
    """Side of the tiles in pixels; None takes micrographs in one piece, and only mosaics in tiles."""
    tile_overlap: float = 0.25
    tta: bool = False
    resample: bool = False
    """Whether micrographs are brought to the pixel size of the training."""
    probability: bool = False
    """Whether the probabilities are written too."""


@dataclass(frozen=True)
class Request:
    """What to segment, with what, and where to."""

    folder: Path
    model: str
    """A folder, or URL#revision of a repository."""
    output: Path
    settings: Settings = Settings()
    pixel_size: PixelSize | None = None
    scales: Path | None = None
    """A table of pixel sizes."""
    fields: Path | None = None
    """A table that says which specimen each micrograph is of."""
    skip_unreadable: bool = False
    resume: bool = False


def parse_area(text: str) -> Area:
    """Read an area such as "0.1um2" or "20px"."""
    found = re.fullmatch(r"\s*([\d.,]+(?:[eE][-+]?\d+)?)\s*([^\d\s.,]+?)2?\s*", text)
    if not found:
        raise InputError(f"--min-area: {text!r} is no area; give a number and a unit, such as 0.1um2 or 20px")
    number, unit = parse_number(found[1], "--min-area"), found[2].removesuffix("\N{SUPERSCRIPT TWO}")
    if unit == "px":
        return Area(number, in_pixels=True)
    if unit not in MICROMETRES:
        raise InputError(f"--min-area: unknown unit {unit!r}; give um2 (or nm2, mm2) or px")
    return Area(number * MICROMETRES[unit] ** 2, in_pixels=False)


def parse_crop(text: str) -> Crop:
    """Read the number of rows to cut off at the bottom, or "auto"."""
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise InputError(f"--crop-bottom: {text!r} is neither auto nor a number of rows")
    return int(text)


def check_tile_size(tile: int) -> int:
    """Return the side of the tiles; InputError where the network cannot use it."""
    if tile < SMALLEST_TILE or tile % TILE_MULTIPLE:
        nearest = max(SMALLEST_TILE, TILE_MULTIPLE * round(tile / TILE_MULTIPLE))
        raise InputError(f"--tile-size: {tile} is not a multiple of 16 from 64 on; give {nearest}")
    return tile
