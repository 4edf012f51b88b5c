"""What microscopes and image programs write into image headers: pixel size and height of the information bar."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tifffile import TiffFile, TiffFileError

from microseg.common.errors import InputError
from microseg.micrographs.decoding import stored_size
from microseg.micrographs.pixel_size import TOLERANCE, PixelSize, unit_in_micrometres

RESOLUTION_UNITS = {2: "inch", 3: "cm"}

# 72 or 300 dots per inch are for printers; pixels of micrographs are smaller than this.
LARGEST_PIXEL_UM = 10.0

TESCAN_TAG = 50431
FIELD = re.compile(r"^\s*\$*(\w+)(?:[ \t]*=[ \t]*|[ \t]+)(.*?)\s*$", re.MULTILINE)
"""A line of the text that TESCAN and Hitachi (PixelSizeX=1.2e-08) or JEOL ($$SM_MICRON_BAR 95) write."""
LENGTH = re.compile(r"([\d.]+)\s*(\S+)")
ZEISS_MAGNIFICATION = re.compile(r"([\d.]+)\s*(K?)\s*X")

MALFORMED = (KeyError, ValueError, TypeError, ArithmeticError, AttributeError, ElementTree.ParseError)

Sizes = tuple[float, float, str]
"""Width and height of a pixel in micrometres, and where they are stated."""


class UnknownUnitError(ValueError):
    """A header gives a scale in a unit that is not known; the message says so."""


@dataclass(frozen=True)
class Header:
    """What the header of an image states; None for what it does not state."""

    pixel_size: PixelSize | None = None
    bar_height: int | None = None
    """Rows at the bottom that show the information bar instead of the specimen."""
    magnification: float | None = None
    """As the microscope states it, on its own screen or print."""
    warning: str | None = None
    """Why a scale in the header cannot be used."""


def read_header(path: Path) -> Header:
    """Read pixel size and information bar from the header of a TIFF, or from a text file beside any image.

    If several programs have left their headers, that of the microscope takes priority over those of image
    programs.

    Raises:
        InputError: the pixels are not square.
    """
    size, bar, magnification, warning = None, None, None, None
    try:
        with TiffFile(path) as tiff:
            for reader in READERS:
                try:
                    size = size or next((_square(path, found, reader) for found in reader(tiff)), None)
                except UnknownUnitError as error:
                    warning = str(error)
                except MALFORMED:
                    continue  # a header that breaks its own format states nothing
            with suppress(*MALFORMED):
                bar = _fei_bar(tiff)
            with suppress(*MALFORMED):
                magnification = _magnification(tiff)
    except TiffFileError:
        pass
    if size is None or size.by_image_program:
        with suppress(*MALFORMED):
            sizes, bar_beside, magnification_beside = _beside(path)
            magnification = magnification or magnification_beside
            size = (_square(path, sizes) if sizes else None) or size
            bar = bar_beside if bar is None else bar
    return Header(size, bar, magnification, None if size else warning)


def _square(path: Path, sizes: Sizes, reader: Callable[..., object] | None = None) -> PixelSize | None:
    width, height, source = sizes
    if not (0 < width < math.inf and 0 < height < math.inf):
        return None
    if abs(height / width - 1) > TOLERANCE:
        raise InputError(
            f"{path}: {source} says pixels of {width:.6g} x {height:.6g} um; resample the image to square pixels"
        )
    return PixelSize(width, source, reader in IMAGE_PROGRAMS)


def _length(number: float, unit: str, source: str) -> float:
    """Return a length of a header in micrometres; UnknownUnitError where its unit is none."""
    unit_um = unit_in_micrometres(unit)
    if unit_um is None:
        raise UnknownUnitError(
            f"its {source} gives a scale in the unit {unit!r}, which is not known; give --pixel-size"
        )
    return number * unit_um


def _fei(tiff: TiffFile) -> Iterator[Sizes]:
    scan = (tiff.fei_metadata or {}).get("Scan", {})
    if "PixelWidth" in scan:
        width = float(scan["PixelWidth"])
        yield width * 1e6, float(scan.get("PixelHeight", width)) * 1e6, "FEI header, Scan.PixelWidth"


def _fei_bar(tiff: TiffFile) -> int | None:
    """Return the rows below those that were scanned: of a copy without its bar there are none."""
    metadata, page = tiff.fei_metadata or {}, tiff.pages.first
    image = metadata.get("Image", {})
    if image.get("ResolutionY"):
        resampled = image.get("ResolutionX") not in (None, "", page.imagewidth)
        return None if resampled else max(0, page.imagelength - int(image["ResolutionY"]))
    height = metadata.get("PrivateFei", {}).get("DatabarHeight")
    return int(height) if height else None


def _zeiss(tiff: TiffFile) -> Iterator[Sizes]:
    metadata = tiff.sem_metadata or {}
    # The second is the size of a pixel on the microscope's screen, which older versions write alone.
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        if len(metadata.get(key, ())) == 3:
            source = f"Zeiss header, {key}"
            size = _length(float(metadata[key][1]), metadata[key][2], source)
            yield size, size, source


def _olympus(tiff: TiffFile) -> Iterator[Sizes]:
    metadata = tiff.sis_metadata or {}
    if "pixelsizex" in metadata:
        width = float(metadata["pixelsizex"])
        yield width * 1e6, float(metadata.get("pixelsizey", width)) * 1e6, "Olympus SIS header, pixelsizex"


def _magnification(tiff: TiffFile) -> float | None:
    """Return the magnification in the header of Zeiss, such as "2.00 K X", or TESCAN; FEI states none."""
    stated = " ".join(map(str, (tiff.sem_metadata or {}).get("ap_mag", ())[1:]))
    if found := ZEISS_MAGNIFICATION.fullmatch(stated):
        return float(found[1]) * (1000 if found[2] else 1)
    return _stated_magnification(_tescan_fields(tiff))


def _stated_magnification(fields: Mapping[str, str]) -> float | None:
    stated = fields.get("Magnification") or fields.get("CM_MAG")
    return float(stated.split()[0]) if stated else None


def _tescan_fields(tiff: TiffFile) -> dict[str, str]:
    content = tiff.pages.first.tags.valueof(TESCAN_TAG)
    return _fields(content.decode("latin-1") if isinstance(content, bytes) else content or "")


def _fields(text: str) -> dict[str, str]:
    return dict(FIELD.findall(text.replace("\r", "")))


def _tescan(tiff: TiffFile) -> Iterator[Sizes]:
    fields = _tescan_fields(tiff)
    if "PixelSizeX" in fields:
        yield _tescan_sizes(fields, "TESCAN header")


def _tescan_sizes(fields: Mapping[str, str], source: str) -> Sizes:
    width, height = fields["PixelSizeX"], fields.get("PixelSizeY", fields["PixelSizeX"])
    return float(width) * 1e6, float(height) * 1e6, f"{source}, PixelSizeX"


def _beside(image: Path) -> tuple[Sizes | None, int | None, float | None]:
    """Return pixel size, bar and magnification from the text that TESCAN, JEOL and Hitachi write beside an image.

    For `steel.tif` that is `steel.hdr` or `steel-tif.hdr` (TESCAN), or `steel.txt`.
    """
    for name in (
        f"{image.stem}.hdr",
        f"{image.stem}-{image.suffix[1:]}.hdr",
        f"{image.stem}.txt",
        f"{image.stem}.TXT",
    ):
        if image.with_name(name).is_file():
            content = image.with_name(name).read_bytes()
            fields = _fields(content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"))
            size, bar = _stated_beside(fields, name, image)
            return size, bar, _stated_magnification(fields) if size else None
    return None, None, None


def _stated_beside(fields: Mapping[str, str], name: str, image: Path) -> tuple[Sizes | None, int | None]:
    """Return pixel size and bar from the text beside an image.

    Those of Hitachi and JEOL count where the image has the width that they state.
    """
    if "PixelSizeX" in fields:
        return _tescan_sizes(fields, name), None
    height, width = stored_size(image)
    if "PixelSize" in fields and fields["DataSize"].split("x")[0] == str(width):
        nanometres = float(fields["PixelSize"])
        return (nanometres / 1000, nanometres / 1000, f"{name}, PixelSize"), None
    marker, full = LENGTH.match(fields["SM_MICRON_MARKER"]), fields["CM_FULL_SIZE"].split()
    if marker is None or full[0] != str(width):
        return None, None
    pixel = _length(float(marker[1]), marker[2], name) / int(fields["SM_MICRON_BAR"])
    return (pixel, pixel, f"{name}, SM_MICRON_BAR"), max(0, height - int(full[1]))


def _ome(tiff: TiffFile) -> Iterator[Sizes]:
    if not tiff.ome_metadata:
        return
    pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")  # noqa: S314 (entities expand nowhere)
    if pixels is not None and "PhysicalSizeX" in pixels.attrib:
        width, height = (
            _length(
                float(pixels.get(f"PhysicalSize{axis}", pixels.attrib["PhysicalSizeX"])),
                pixels.get(f"PhysicalSize{axis}Unit", "um"),
                "OME header",
            )
            for axis in "XY"
        )
        yield width, height, "OME header, PhysicalSizeX"


def _imagej(tiff: TiffFile) -> Iterator[Sizes]:
    unit = str((tiff.imagej_metadata or {}).get("unit", ""))
    if unit.casefold() not in ("", "pixel", "pixels"):
        yield from _no_printer(tiff, unit, "ImageJ header, unit and XResolution")


def _resolution_tags(tiff: TiffFile) -> Iterator[Sizes]:
    # ImageJ writes its unit into its description; the unit of the tag then means nothing.
    unit = RESOLUTION_UNITS.get(int(tiff.pages.first.tags.valueof(296, default=1)))
    if unit and not tiff.is_imagej:
        yield from _no_printer(tiff, unit, "TIFF tag XResolution")


def _no_printer(tiff: TiffFile, unit: str, source: str) -> Iterator[Sizes]:
    """Yield the pixel size in the resolution tags, unless they are a printer's dots per inch or centimetre."""
    tags = tiff.pages.first.tags
    (across, per_across), (down, per_down) = (tags.valueof(code) for code in (282, 283))
    width, height = (_length(length, unit, source) for length in (per_across / across, per_down / down))
    if width <= LARGEST_PIXEL_UM or unit_in_micrometres(unit) not in map(unit_in_micrometres, ("inch", "cm")):
        yield width, height, source


IMAGE_PROGRAMS: tuple[Callable[[TiffFile], Iterator[Sizes]], ...] = (_ome, _imagej, _resolution_tags)
READERS = (_fei, _zeiss, _olympus, _tescan, *IMAGE_PROGRAMS)
"""In order of priority: microscopes, then image programs, then the plain tags."""
