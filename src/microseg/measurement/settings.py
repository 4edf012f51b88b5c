"""Settings of a segmentation run, and the checks of the options they come from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from microseg.common.errors import InputError
from microseg.measurement.stereology import Direction
from microseg.micrographs.pixel_size import PixelSize, parse_number, unit_in_micrometres
from microseg.micrographs.valid_area import AUTO

Crop = int | Literal["auto"]
Method = Literal["sigmoid", "morphology"]
METHODS: tuple[Method, ...] = ("sigmoid", "morphology")
PROBABILITIES = (0.4, 0.5, 0.6)
"""Probability thresholds at which the area fraction is reported too, to show how much it depends on them."""

SMALLEST_TILE, TILE_MULTIPLE = 64, 16


@dataclass(frozen=True)
class Area:
    """An area in square micrometres or in pixels."""

    number: float
    in_pixels: bool

    def pixels(self, pixel_size_um: float | None) -> float:
        """Return the area in pixels; InputError where it is in micrometres and no pixel size is known."""
        if self.in_pixels or not self.number:
            return self.number
        if pixel_size_um is None:
            raise InputError("--min-area: no pixel size is known; give the area in pixels, such as 20px")
        return self.number / pixel_size_um**2


@dataclass(frozen=True)
class Settings:
    """How micrographs are segmented and measured."""

    method: Method = "sigmoid"
    threshold: float = 0.5
    """For sigmoid: the probability above which a pixel is foreground. Like the three that follow, it is replaced
    by that of the model: `measurement.model.evaluated_settings`."""
    morphology_threshold: float | Literal["otsu"] = 0.0
    """For morphology: the logit above which a pixel is foreground, before opening and closing."""
    opening_radius: int = 3
    closing_radius: int = 3
    """Radii in pixels."""
    direction: Direction = "both"
    """Direction of the test lines."""
    min_area: Area = Area(0, in_pixels=True)
    """Smaller islands are excluded from the mask and from all measurements."""
    crop_bottom: Crop = 0
    """Height of the information bar in rows; "auto" finds it in each image."""
    valid_area: str = AUTO
    """What of each micrograph is specimen, as `micrographs.valid_area.valid_area` takes it."""
    tile_size: int | None = None
    """Side of the tiles in pixels; None predicts micrographs whole, and only mosaics in tiles."""
    tile_overlap: float = 0.25
    tta: bool = False
    """Test-time augmentation: average the logits over the eight flips and rotations."""
    resample: bool = False
    """Whether the network sees micrographs at the pixel size it was trained at."""
    probability: bool = False
    """Whether probability maps are written."""


@dataclass(frozen=True)
class Request:
    """A run as the user asks for it: micrographs, model, output folder and settings."""

    folder: Path
    """The micrographs."""
    model: str
    """A model's folder, or URL#revision of a repository; "" where masks are given."""
    output: Path
    settings: Settings = Settings()
    pixel_size: PixelSize | None = None
    scales: Path | None = None
    """A table of the pixel size of each micrograph."""
    fields: Path | None = None
    """A table of the specimen of each micrograph."""
    outlines: tuple[str, ...] = ()
    """Formats of `measurement.outlines` to write the outlines of islands in."""
    masks: Path | None = None
    """Masks or outlines to measure instead of those of a model, in a form that `sources.any_form` reads."""
    foreground: tuple[str, ...] | None = None
    """Values or classes of these that are foreground."""
    mask_suffix: str = ""
    """What the names of masks have behind those of the micrographs."""
    compare_with: Path | None = None
    """The results of an earlier run, of which the masks are corrections."""
    random_sample: Path | None = None
    """That the masks are of a simple random sample of its micrographs: the list of `microseg next`, which has to
    agree where there is one."""
    skip_unreadable: bool = False
    resume: bool = False
    """Whether to continue an interrupted run."""
    restart: bool = False
    """Whether to remove an interrupted run; with neither, one that has finished micrographs is an error."""


def parse_area(text: str) -> Area:
    """Read an area such as "0.1um2" or "20px"; InputError where it is none."""
    found = re.fullmatch(r"\s*([\d.,]+(?:[eE][-+]?\d+)?)\s*([^\d\s.,]+?)2?\s*", text)
    if not found:
        raise InputError(f"--min-area: {text!r} is not an area; give a number and a unit, such as 0.1um2 or 20px")
    number, unit = parse_number(found[1], "--min-area"), found[2].removesuffix("\N{SUPERSCRIPT TWO}")
    if unit == "px":
        return Area(number, in_pixels=True)
    unit_um = unit_in_micrometres(unit)
    if unit_um is None:
        raise InputError(f"--min-area: unknown unit {unit!r}; give um2 (or nm2, mm2) or px")
    return Area(number * unit_um**2, in_pixels=False)


def parse_crop(text: str) -> Crop:
    """Read the number of rows to cut off at the bottom, or "auto"; InputError where it is neither."""
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise InputError(f"--crop-bottom: {text!r} is neither auto nor a number of rows")
    return int(text)


def check_tile_size(pixels: int) -> int:
    """Return the side of the tiles; InputError where the network cannot take tiles of that size."""
    if pixels < SMALLEST_TILE or pixels % TILE_MULTIPLE:
        nearest = max(SMALLEST_TILE, TILE_MULTIPLE * round(pixels / TILE_MULTIPLE))
        raise InputError(
            f"--tile-size: {pixels} is not a multiple of {TILE_MULTIPLE}, at least {SMALLEST_TILE}; give {nearest}"
        )
    return pixels
