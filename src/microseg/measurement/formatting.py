"""How quantities are named, rounded and put into words, in micrometres or, without a scale, in pixels."""

import math
from collections.abc import Mapping
from typing import Any

from microseg.measurement.specimens import FEWEST_FOR_A_HEADLINE, FEWEST_FOR_AN_INTERVAL

# Micrometres to the length in the name.
_EXPONENTS = {"um": 1.0, "um2": 1.0, "per_mm": 1e3, "per_mm2": 1e6}
_PIXEL_UNITS = {"um": "px", "um2": "px2", "per_mm": "per_px", "per_mm2": "per_px2"}
# Powers of the pixel size by which a value in pixels is multiplied.
_POWERS = {"um": 1, "um2": 2, "per_mm": -1, "per_mm2": -2}


def unit_of(column: str) -> str | None:
    """Return the unit at the end of a column named for micrometres, such as "per_mm2"; None where it has none."""
    return next((unit for unit in sorted(_POWERS, key=len, reverse=True) if column.endswith(f"_{unit}")), None)


def column_name(column: str, *, scaled: bool) -> str:
    """Return the name of a column: as it is, or with the unit in pixels where there is no scale."""
    unit = unit_of(column)
    return column if scaled or unit is None else column.removesuffix(unit) + _PIXEL_UNITS[unit]


def to_units(values: Mapping[str, Any], pixel_size_um: float | None) -> dict[str, Any]:
    """Turn values measured in pixels into the units that the names of their columns end in.

    Args:
        values: numbers or arrays, by the name of the column for micrometres: {"mean_area_um2": square pixels}.
        pixel_size_um: side of a pixel in micrometres; None keeps pixels and renames the columns.
    """
    converted = {}
    for column, value in values.items():
        unit = unit_of(column)
        name = column_name(column, scaled=pixel_size_um is not None)
        if pixel_size_um is None or unit is None:
            converted[name] = value
        else:
            converted[name] = value * (_EXPONENTS[unit] * pixel_size_um ** _POWERS[unit])
    return converted


MINUS = "\N{MINUS SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

NAMES = {
    "area_fraction": "Area fraction A<sub>A</sub>",
    "number_per_mm2": "Islands per area N<sub>A</sub>",
    "mean_area_um2": "Mean area of an island",
    "interceptions_per_mm": "Islands met per length of line N<sub>L</sub>",
    "mean_intercept_um": "Mean intercept length",
    "mean_free_path_um": "Mean free path \N{GREEK SMALL LETTER LAMDA}",
    "boundary_per_mm": "Boundary per volume S<sub>V</sub>",
}
"""What a report calls each quantity."""

UNITS = {
    "area_fraction": "%",
    "number_per_mm2": "1/mm\N{SUPERSCRIPT TWO}",
    "mean_area_um2": "\N{MICRO SIGN}m\N{SUPERSCRIPT TWO}",
    "interceptions_per_mm": "1/mm",
    "mean_intercept_um": "\N{MICRO SIGN}m",
    "mean_free_path_um": "\N{MICRO SIGN}m",
    "boundary_per_mm": "mm\N{SUPERSCRIPT TWO}/mm\N{SUPERSCRIPT THREE}",
}

PIXEL_UNITS = {
    "area_fraction": "%",
    "number_per_mm2": "1/px\N{SUPERSCRIPT TWO}",
    "mean_area_um2": "px\N{SUPERSCRIPT TWO}",
    "interceptions_per_mm": "1/px",
    "mean_intercept_um": "px",
    "mean_free_path_um": "px",
    "boundary_per_mm": "px\N{SUPERSCRIPT TWO}/px\N{SUPERSCRIPT THREE}",
}


def name_and_unit(quantity: str, *, scaled: bool) -> tuple[str, str]:
    """Return what a report calls a column and its unit, for the name that the column has in the tables."""
    units = UNITS if scaled else PIXEL_UNITS
    column = next(one for one in NAMES if column_name(one, scaled=scaled) == quantity)
    return NAMES[column], units[column]


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, a dash where there is none."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.replace('-', MINUS)} {_power_of_ten(int(exponent))}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{decimals}f}".replace("-", MINUS)


def _power_of_ten(exponent: int) -> str:
    return f"\N{MULTIPLICATION SIGN} 10{str(exponent).translate(SUPERSCRIPTS)}"


def plus_minus(mean: float, interval: float) -> str:
    """Return a mean and half of its interval, both rounded to the place of the interval's second digit."""
    if math.isnan(interval) or math.isnan(mean):
        return number(mean)
    if interval and mean and not 1e-3 <= abs(mean) < 1e6:
        exponent = math.floor(math.log10(abs(mean)))
        return f"({plus_minus(mean / 10**exponent, interval / 10**exponent)}) {_power_of_ten(exponent)}"
    if not interval or not 1e-3 <= interval < 1e6:
        return f"{number(mean)} \N{PLUS-MINUS SIGN} {number(interval, 2)}"
    place = 1 - math.floor(math.log10(interval))
    middle, half = (f"{round(value, place):.{max(0, place)}f}" for value in (mean, interval))
    return f"{middle} \N{PLUS-MINUS SIGN} {half}".replace("-", MINUS)


def percent(share: float) -> str:
    """Return a share in percent, with its sign where it is a difference below zero."""
    return f"{number(100 * share)} %"


def signed_percent(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.2f}".replace("-", MINUS)


def headline(row: Mapping[Any, Any]) -> str:
    """Return the sentence that a report begins with: the row of the area fraction of one specimen in words."""
    fields = int(row["fields"])
    counted = f"n = {fields} field{'s' if fields != 1 else ''}"
    if fields < FEWEST_FOR_AN_INTERVAL:
        return (
            f"A_A = {percent(row['mean'])} ({counted}): too few fields for a confidence interval, "
            f"measure at least {FEWEST_FOR_A_HEADLINE}"
        )
    measured = plus_minus(100 * row["mean"], 100 * row["interval95"])
    accuracy = row["relative_accuracy_percent"]
    words = f"A_A = {measured} % (95 %, {counted}, %RA {number(accuracy, 2)} %)"
    if fields < FEWEST_FOR_A_HEADLINE:
        return f"{words}: too few fields to rely on, measure at least {FEWEST_FOR_A_HEADLINE}"
    if math.isnan(accuracy):
        return words
    more = int(row["more_fields_for_5_percent"])
    if more:
        return f"{words}; about {more} more field{'s' if more != 1 else ''} for 5 %"
    return f"{words}; enough fields for 5 %"
