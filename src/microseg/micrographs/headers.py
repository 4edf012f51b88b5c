"""What microscopes and image programs write into image headers: pixel size and height of the information bar."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tifffile import TiffFile, TiffFileError

from microseg.common.errors import InputError
from microseg.micrographs.pixel_size import MICROMETRES, TOLERANCE, PixelSize

RESOLUTION_UNITS = {2: "inch", 3: "cm"}

# Resolution tags of 72 or 300 dots per inch are for printers; pixels of micrographs are smaller than this.
LARGEST_PIXEL_UM = 10.0

TESCAN_TAG = 50431
TESCAN_PIXEL_SIZE = re.compile(r"^\s*PixelSize([XY])\s*=\s*(\d+\.?\d*(?:[eE][-+]?\d+)?)\s*$", re.MULTILINE)

Sizes = tuple[float, float, str]
"""Width and height of a pixel in micrometres, and where they are stated."""


@dataclass(frozen=True)
class Header:
    """What the header of an image states; None for what it does not state."""

    pixel_size: PixelSize | None = None
    bar_height: int | None = None
    """Rows at the bottom that show the information bar instead of the specimen."""


def read_header(path: Path) -> Header:
    """Read pixel size and information bar from the header of a TIFF, or from TESCAN's .hdr file beside any image.

    If several programs have left their headers, that of the microscope takes priority over those of image
    programs.

    Raises:
        InputError: the pixels are not square.
    """
    sizes, bar = None, None
    try:
        with TiffFile(path) as tiff:
            sizes = next((found for reader in READERS for found in reader(tiff)), None)
            bar = _fei_bar(tiff)
    except TiffFileError:
        pass
    except (KeyError, ValueError, TypeError, ArithmeticError, ElementTree.ParseError):
        # A header that breaks its own format states nothing; the pixels are read elsewhere.
        sizes = None
    sizes = sizes or _tescan_file(path)
    return Header(_square(path, sizes) if sizes else None, bar)


def _square(path: Path, sizes: Sizes) -> PixelSize | None:
    width, height, source = sizes
    if not (0 < width < math.inf and 0 < height < math.inf):
        return None
    if abs(height / width - 1) > TOLERANCE:
        raise InputError(
            f"{path}: {source} says pixels of {width:.6g} x {height:.6g} um; resample the image to square pixels"
        )
    return PixelSize(width, source)


def _fei(tiff: TiffFile) -> Iterator[Sizes]:
    scan = (tiff.fei_metadata or {}).get("Scan", {})
    if "PixelWidth" in scan:
        width = float(scan["PixelWidth"])
        yield width * 1e6, float(scan.get("PixelHeight", width)) * 1e6, "FEI header, Scan.PixelWidth"


def _fei_bar(tiff: TiffFile) -> int | None:
    metadata = tiff.fei_metadata or {}
    if "DatabarHeight" in metadata.get("PrivateFei", {}):
        return int(metadata["PrivateFei"]["DatabarHeight"])
    if "ResolutionY" in metadata.get("Image", {}):
        return max(0, tiff.pages.first.imagelength - int(metadata["Image"]["ResolutionY"]))
    return None


def _zeiss(tiff: TiffFile) -> Iterator[Sizes]:
    # The entry ap_pixel_size is the size of a pixel on the microscope's screen.
    entry = (tiff.sem_metadata or {}).get("ap_image_pixel_size")
    if entry and len(entry) == 3 and entry[2] in MICROMETRES:
        size = float(entry[1]) * MICROMETRES[entry[2]]
        yield size, size, "Zeiss header, ap_image_pixel_size"


def _olympus(tiff: TiffFile) -> Iterator[Sizes]:
    metadata = tiff.sis_metadata or {}
    if "pixelsizex" in metadata:
        width = float(metadata["pixelsizex"])
        yield width * 1e6, float(metadata.get("pixelsizey", width)) * 1e6, "Olympus SIS header, pixelsizex"


def _tescan(tiff: TiffFile) -> Iterator[Sizes]:
    content = tiff.pages.first.tags.valueof(TESCAN_TAG)
    text = content.decode("latin-1") if isinstance(content, bytes) else content or ""
    sizes = _tescan_sizes(text, "TESCAN header, PixelSizeX")
    if sizes:
        yield sizes


def _tescan_file(image: Path) -> Sizes | None:
    """Read the header file beside an image: for `steel.tif` that is `steel.hdr` or `steel-tif.hdr`."""
    for name in (f"{image.stem}.hdr", f"{image.stem}-{image.suffix[1:]}.hdr"):
        header = image.with_name(name)
        if header.is_file():
            return _tescan_sizes(header.read_text(encoding="latin-1"), f"{name}, PixelSizeX")
    return None


def _tescan_sizes(text: str, source: str) -> Sizes | None:
    """Find the pixel size in the text of a header, in lines such as "PixelSizeX=1.2e-08" (metres)."""
    sizes = {axis: float(number) * 1e6 for axis, number in TESCAN_PIXEL_SIZE.findall(text)}
    return (sizes["X"], sizes.get("Y", sizes["X"]), source) if "X" in sizes else None


def _ome(tiff: TiffFile) -> Iterator[Sizes]:
    if not tiff.ome_metadata:
        return
    pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")  # noqa: S314 (entities expand nowhere)
    if pixels is not None and "PhysicalSizeX" in pixels.attrib:
        width, height = (
            float(pixels.get(f"PhysicalSize{axis}", pixels.attrib["PhysicalSizeX"]))
            * MICROMETRES[pixels.get(f"PhysicalSize{axis}Unit", "um")]
            for axis in "XY"
        )
        yield width, height, "OME header, PhysicalSizeX"


def _imagej(tiff: TiffFile) -> Iterator[Sizes]:
    unit = str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "\N{MICRO SIGN}")
    if unit in MICROMETRES:
        width, height = (length * MICROMETRES[unit] for length in _pixel_lengths(tiff))
        yield width, height, "ImageJ header, unit and XResolution"


def _resolution_tags(tiff: TiffFile) -> Iterator[Sizes]:
    # ImageJ writes its unit into its description; the unit of the tag then means nothing.
    unit = RESOLUTION_UNITS.get(int(tiff.pages.first.tags.valueof(296, default=1)))
    if unit and not tiff.is_imagej:
        width, height = (length * MICROMETRES[unit] for length in _pixel_lengths(tiff))
        if width <= LARGEST_PIXEL_UM:
            yield width, height, "TIFF tag XResolution"


def _pixel_lengths(tiff: TiffFile) -> tuple[float, float]:
    """Return width and height of a pixel in the unit of the resolution tags."""
    tags = tiff.pages.first.tags
    (across, per_across), (down, per_down) = (tags.valueof(code) for code in (282, 283))
    return per_across / across, per_down / down


READERS: tuple[Callable[[TiffFile], Iterator[Sizes]], ...] = (
    _fei,
    _zeiss,
    _olympus,
    _tescan,
    _ome,
    _imagej,
    _resolution_tags,
)
"""In order of priority: microscopes, then image programs, then the plain tags."""
