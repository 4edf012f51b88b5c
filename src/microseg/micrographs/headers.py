"""What microscopes and image programs write into the headers of pictures: pixel size and information bar."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tifffile import TiffFile, TiffFileError

from microseg.common.errors import InputError
from microseg.micrographs.pixel_size import MICROMETRES, TOLERANCE, PixelSize

RESOLUTION_UNITS = {2: "inch", 3: "cm"}

# Resolution tags of 72 or 300 dots per inch are meant for printers: pixels of micrographs are smaller than this.
LARGEST_PIXEL_UM = 10.0

Sizes = tuple[float, float, str]
"""Width and height of a pixel in micrometres, and where that stands."""


@dataclass(frozen=True)
class Header:
    """What the header of a picture says; None where it says nothing."""

    pixel_size: PixelSize | None = None
    bar_height: int | None = None
    """Rows at the bottom that show the information bar and not the specimen."""


def read_header(path: Path) -> Header:
    """Read pixel size and information bar from the header of a TIFF, or from TESCAN's .hdr beside any picture.

    Where several programs have left their headers, that of the microscope goes before those of image programs.

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
        # A header that is not as its makers describe it says nothing; the picture itself is read elsewhere.
        sizes = None
    sizes = sizes or tescan_sizes(path)
    return Header(_square(path, sizes) if sizes else None, bar)


def _square(path: Path, sizes: Sizes) -> PixelSize | None:
    width, height, source = sizes
    if not (width > 0 and height > 0):
        return None
    if abs(height / width - 1) > TOLERANCE:
        raise InputError(
            f"{path}: {source} says pixels of {width:.6g} x {height:.6g} um; resample the picture to square ones"
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
    # ap_pixel_size, its neighbour, is the size of a pixel on the microscope's screen.
    entry = (tiff.sem_metadata or {}).get("ap_image_pixel_size")
    if entry and len(entry) == 3 and entry[2] in MICROMETRES:
        size = float(entry[1]) * MICROMETRES[entry[2]]
        yield size, size, "Zeiss header, ap_image_pixel_size"


def _olympus(tiff: TiffFile) -> Iterator[Sizes]:
    metadata = tiff.sis_metadata or {}
    if "pixelsizex" in metadata:
        width = float(metadata["pixelsizex"])
        yield width * 1e6, float(metadata.get("pixelsizey", width)) * 1e6, "Olympus SIS header, pixelsizex"


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
    # ImageJ writes its own unit into its description and leaves that of the tag without meaning.
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


def _tescan(tiff: TiffFile) -> Iterator[Sizes]:
    found = tescan_sizes(tiff.pages.first.tags.valueof(50431))
    if found:
        yield found


READERS: tuple[Callable[[TiffFile], Iterator[Sizes]], ...] = (
    *(_fei, _zeiss, _olympus, _tescan, _ome, _imagej, _resolution_tags),
)


SIZE = re.compile(r"^\s*PixelSize([XY])\s*=\s*([-+\d.eE]+)", re.MULTILINE)


def tescan_sizes(content: Path | bytes | str | None) -> tuple[float, float, str] | None:
    """Return width and height of a pixel in micrometres and where that stands; None where it stands nowhere.

    Args:
        content: the value of the tag 50431, or the path of a picture that may have its header beside it: of
            `steel.tif` it is `steel.hdr` or `steel-tif.hdr`.
    """
    if isinstance(content, Path):
        return _beside(content)
    text = content.decode("latin-1") if isinstance(content, bytes) else content or ""
    return _sizes(text, "TESCAN header, PixelSizeX")


def _beside(picture: Path) -> tuple[float, float, str] | None:
    for name in (f"{picture.stem}.hdr", f"{picture.stem}-{picture.suffix[1:]}.hdr"):
        header = picture.with_name(name)
        if header.is_file():
            return _sizes(header.read_text(encoding="latin-1"), f"{name}, PixelSizeX")
    return None


def _sizes(text: str, source: str) -> tuple[float, float, str] | None:
    # The lengths stand in metres, in lines such as "PixelSizeX=1.2e-08".
    sizes = {axis: float(number) * 1e6 for axis, number in SIZE.findall(text)}
    return (sizes["X"], sizes.get("Y", sizes["X"]), source) if "X" in sizes else None
