"""Units and text of measured quantities, in micrometres or, without a scale, in pixels.

Columns of tables are named for micrometres and millimetres: mean_area_um2, number_per_mm2. Without a pixel size
the same columns hold pixels and are named for them: mean_area_px2, number_per_px2.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

# For each unit that a column name can end in: the power of the pixel size that converts a value in pixels to
# micrometres, the factor from there to the unit, and the unit in pixels.
_POWERS = {"um": 1, "um2": 2, "per_mm": -1, "per_mm2": -2}
_FACTORS = {"um": 1.0, "um2": 1.0, "per_mm": 1e3, "per_mm2": 1e6}
_IN_PIXELS = {"um": "px", "um2": "px2", "per_mm": "per_px", "per_mm2": "per_px2"}

NAMES = {
    "area_fraction": "Area fraction A<sub>A</sub>",
    "number_per_mm2": "Islands per area N<sub>A</sub>",
    "number_without_specks_per_mm2": "N<sub>A</sub> without specks",
    "mean_area_um2": "Mean island area",
    "interceptions_per_mm": "Islands intercepted per line length N<sub>L</sub>",
    "mean_intercept_um": "Mean intercept length",
    "mean_free_path_um": "Mean free path \N{GREEK SMALL LETTER LAMDA}",
    "boundary_per_mm": "Boundary area per volume S<sub>V</sub>",
    "interceptions_x_per_mm": "N<sub>L</sub> along x",
    "interceptions_y_per_mm": "N<sub>L</sub> along y",
    "interceptions_x_over_y": "Ratio of N<sub>L</sub> along x to y",
}
"""What a report calls each quantity, as HTML."""

UNITS = {
    "area_fraction": "%",
    "number_per_mm2": "1/mm\N{SUPERSCRIPT TWO}",
    "number_without_specks_per_mm2": "1/mm\N{SUPERSCRIPT TWO}",
    "mean_area_um2": "\N{MICRO SIGN}m\N{SUPERSCRIPT TWO}",
    "interceptions_per_mm": "1/mm",
    "mean_intercept_um": "\N{MICRO SIGN}m",
    "mean_free_path_um": "\N{MICRO SIGN}m",
    "boundary_per_mm": "mm\N{SUPERSCRIPT TWO}/mm\N{SUPERSCRIPT THREE}",
    "interceptions_x_per_mm": "1/mm",
    "interceptions_y_per_mm": "1/mm",
    "interceptions_x_over_y": "",
}

PIXEL_UNITS = {column: unit.replace("\N{MICRO SIGN}m", "px").replace("mm", "px") for column, unit in UNITS.items()}

MINUS = "\N{MINUS SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_units(values: Mapping[str, Any], pixel_size_um: float | None) -> dict[str, Any]:
    """Convert values measured in pixels to the units at the end of their column names.

    Args:
        values: numbers or arrays in pixels, by the column name for micrometres: {"mean_area_um2": square pixels}.
        pixel_size_um: side of a pixel in micrometres; None keeps the values and renames the columns.
    """
    converted = {}
    for column, value in values.items():
        unit = _unit_of(column)
        name = column_name(column, scaled=pixel_size_um is not None)
        if pixel_size_um is None or unit is None:
            converted[name] = value
        else:
            converted[name] = value * (_FACTORS[unit] * pixel_size_um ** _POWERS[unit])
    return converted


def column_name(column: str, *, scaled: bool) -> str:
    """Return the name of a column: unchanged with a scale, with the unit in pixels without one."""
    unit = _unit_of(column)
    return column if scaled or unit is None else column.removesuffix(unit) + _IN_PIXELS[unit]


def _unit_of(column: str) -> str | None:
    """Return the unit at the end of a column name for micrometres, such as "per_mm2"; None where it has none."""
    return next((unit for unit in sorted(_POWERS, key=len, reverse=True) if column.endswith(f"_{unit}")), None)


def unit_factor(column: str) -> float:
    """Return how many of the unit at the end of a column name are one in (square) micrometres or pixels."""
    return _FACTORS.get(_unit_of(column) or "", 1.0)


def name_and_unit(quantity: str, *, scaled: bool) -> tuple[str, str]:
    """Return a quantity's name, as HTML, and its unit for a report; `quantity` is its column in the tables."""
    units = UNITS if scaled else PIXEL_UNITS
    column = next(one for one in NAMES if column_name(one, scaled=scaled) == quantity)
    return NAMES[column], units[column]


def number(value: float | None, digits: int = 3) -> str:
    """Return a number rounded to significant digits; an en dash for None and NaN."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.replace('-', MINUS)} {_power_of_ten(int(exponent))}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{decimals}f}".replace("-", MINUS)


def with_interval(value: float, low: float, high: float) -> str:
    """Return a value and its interval, "12.40 (11.52 to 13.35)", to the second digit of its lower half's width."""
    if math.isnan(value) or math.isnan(high):
        return number(value)
    if not value and not low:
        return f"0 (below {number(high, 2)})"
    largest = max(abs(value), value - low)
    if not 1e-3 <= largest < 1e6:
        exponent = math.floor(math.log10(largest))
        return f"{with_interval(*(one / 10**exponent for one in (value, low, high)))} {_power_of_ten(exponent)}"
    place = 1 - math.floor(math.log10(value - low))
    middle, *ends = (f"{round(one, place) + 0.0:.{max(0, place)}f}" for one in (value, low, high))
    return f"{middle} ({' to '.join(ends)})".replace("-", MINUS)


def _power_of_ten(exponent: int) -> str:
    return f"\N{MULTIPLICATION SIGN} 10{str(exponent).translate(SUPERSCRIPTS)}"


def percent(fraction: float) -> str:
    """Return a fraction in percent."""
    return f"{number(100 * fraction)} %"


def signed_percentage_points(difference: float) -> str:
    """Return a difference of two fractions in percentage points, always with its sign."""
    return f"{100 * difference:+.2f}".replace("-", MINUS)


def scale_bar(width_um: float) -> tuple[float, str]:
    """Return the length of the scale bar of an image, as a fraction of its width, and its label.

    The length is the largest of 1, 2, 5, 10, 20, ... that is at most a quarter of the width.
    """
    power = 10.0 ** math.floor(math.log10(width_um / 4))
    length = power * max(step for step in (1, 2, 5) if step * power <= width_um / 4)
    factor, unit = (1e3, "nm") if length < 1 else (1, "\N{MICRO SIGN}m") if length < 1e3 else (1e-3, "mm")
    return length / width_um, f"{factor * length:g} {unit}"


def with_subscripts(text: str) -> Markup:
    """Return a text as HTML, in which the symbols of stereology, such as A_A and N_L, have real subscripts."""
    return Markup(re.sub(r"\b(A|N|S|V)_([ALV])\b", r"\1<sub>\2</sub>", str(escape(text))))  # noqa: S704 (escaped)
