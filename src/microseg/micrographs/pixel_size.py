"""The size of a pixel on the specimen: what the user says, then a table, then the header of the image."""

import math
import re
import unicodedata
from dataclasses import dataclass

from microseg.common.errors import InputError

UNITS = (
    ("pm picometer", 1e-6),
    ("\N{LATIN SMALL LETTER A WITH RING ABOVE} angstrom", 1e-4),
    ("nm nanometer", 1e-3),
    ("um \N{GREEK SMALL LETTER MU}m micrometer micron", 1.0),
    ("mm millimeter", 1e3),
    ("cm centimeter", 1e4),
    ("in inch", 25400.0),
    ("m meter", 1e6),
)
MICROMETRES = {name: micrometres for names, micrometres in UNITS for name in names.split()}
"""The units of length that tables and headers use, in micrometres, as `unit_in_micrometres` looks them up."""

TOLERANCE = 0.01
"""Pixel sizes that differ by more than this fraction contradict each other."""


@dataclass(frozen=True)
class PixelSize:
    """The side of a square pixel, and where it is stated."""

    micrometres: float
    source: str
    """For the reader of a report, such as "FEI header, Scan.PixelWidth"."""
    by_image_program: bool = False
    """Whether an image program states it, which any other statement overrides: copies often carry a wrong one."""


def unit_in_micrometres(unit: str) -> float | None:
    """Return a unit of length, as people and programs write it, in micrometres; None for an unknown one."""
    # Of the two signs for micro, and for Angstrom, NFKC leaves one. ImageJ writes the first as an escape.
    name = unicodedata.normalize("NFKC", unit.replace("\\u00B5", "u")).strip().casefold()
    name = name.replace("metre", "meter").replace("inches", "inch")
    return MICROMETRES.get(name, MICROMETRES.get(name.removesuffix("s")))


def parse_pixel_size(text: str, where: str = "--pixel-size") -> PixelSize:
    """Read a number with its unit, such as "0.05um" or "50 nm"; `where` begins the InputError for other texts."""
    found = re.fullmatch(r"\s*([-+]?[\d.,]+(?:[eE][-+]?\d+)?|nan|inf)\s*([^\d\s.,]\S*)\s*", text)
    if not found:
        raise InputError(f"{where}: {text!r} is not a length; give a number and a unit, such as 0.05um")
    return PixelSize(micrometres(parse_number(found[1], where), found[2], where), where)


def parse_number(text: str, where: str) -> float:
    """Read a number with a decimal point or comma; `where` begins the InputError for other texts.

    A comma that may separate thousands, as in 1,000, is refused.
    """
    if re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", text.strip()):
        plain, decimal = text.strip().replace(",", ""), text.strip().replace(",", ".")
        raise InputError(f"{where}: {text!r} may mean {plain} or {decimal}; write one of them")
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise InputError(f"{where}: {text!r} is not a number; correct it") from None


def micrometres(number: float, unit: str, where: str) -> float:
    """Return a length in micrometres.

    Raises:
        InputError: the unit is unknown, or the number is not finite and above 0. The message begins with `where`.
    """
    unit_um = unit_in_micrometres(unit)
    if unit_um is None:
        raise InputError(f"{where}: unknown unit {unit!r}; give nm, um, mm or another unit of length")
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{where}: a pixel size cannot be {number:g} {unit}; give a number above 0")
    return number * unit_um


def choose(image: str, sources: list[PixelSize | None]) -> PixelSize | None:
    """Return the first pixel size that is known, None if none is; error messages name `image`.

    Raises:
        InputError: two of them differ by more than one percent, and no image program states the second.
    """
    known = [source for source in sources if source is not None]
    for other in known[1:]:
        if not other.by_image_program and abs(other.micrometres / known[0].micrometres - 1) > TOLERANCE:
            raise InputError(
                f"{image}: {known[0].source} says {known[0].micrometres:.6g} um per pixel, but {other.source} "
                f"{other.micrometres:.6g} um; find out which is right and correct the other (a copy saved as "
                "PNG has no header that could contradict)"
            )
    return known[0] if known else None
