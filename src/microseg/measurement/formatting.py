"""Units and text of measured quantities, in micrometres or, without a scale, in pixels.

Columns of tables are named for micrometres and millimetres: mean_area_um2, number_per_mm2. Without a pixel size
the same columns hold pixels and are named for them: mean_area_px2, number_per_px2.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup, escape

_UNITS = {
    "um": (1, 1.0, "px"),
    "um2": (2, 1.0, "px2"),
    "per_mm": (-1, 1e3, "per_px"),
    "per_mm2": (-2, 1e6, "per_px2"),
}
"""For each unit that a column name can end in: the power of the pixel size that converts a value in pixels to
micrometres, the factor from there to the unit, and the unit in pixels."""

SQUARED = "\N{SUPERSCRIPT TWO}"
_LABELS = {
    "area_fraction": ("Area fraction A_A", "%"),
    "number_per_mm2": ("Islands per area N_A", f"1/mm{SQUARED}"),
    "number_without_specks_per_mm2": ("N_A without specks", f"1/mm{SQUARED}"),
    "mean_area_um2": ("Mean island area", f"\N{MICRO SIGN}m{SQUARED}"),
    "interceptions_per_mm": ("Islands intercepted per line length N_L", "1/mm"),
    "mean_intercept_um": ("Mean intercept length", "\N{MICRO SIGN}m"),
    "mean_free_path_um": ("Mean free path \N{GREEK SMALL LETTER LAMDA}", "\N{MICRO SIGN}m"),
    "boundary_per_mm": ("Boundary area per volume S_V", f"mm{SQUARED}/mm\N{SUPERSCRIPT THREE}"),
    "interceptions_x_per_mm": ("N_L along x", "1/mm"),
    "interceptions_y_per_mm": ("N_L along y", "1/mm"),
    "interceptions_x_over_y": ("Ratio of N_L along x to y", ""),
}

MINUS = "\N{MINUS SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_units(values: Mapping[str, Any], pixel_size_um: float | None) -> dict[str, Any]:
    """Convert values measured in pixels to the units at the end of their column names.

    Args:
        values: numbers or arrays in pixels, by the column name for micrometres: {"mean_area_um2": square pixels}.
        pixel_size_um: side of a pixel in micrometres; None keeps the values and renames the columns.
    """
    if pixel_size_um is None:
        return {column_name(column, scaled=False): value for column, value in values.items()}
    converted = dict(values)
    for column, value in values.items():
        if unit := _unit_of(column):
            power, factor, _ = _UNITS[unit]
            converted[column] = value * (factor * pixel_size_um**power)
    return converted


def column_name(column: str, *, scaled: bool) -> str:
    """Return the name of a column: unchanged with a scale, with the unit in pixels without one."""
    unit = _unit_of(column)
    return column if scaled or unit is None else column.removesuffix(unit) + _UNITS[unit][2]


def _unit_of(column: str) -> str | None:
    """Return the unit at the end of a column name for micrometres, such as "per_mm2"; None where it has none."""
    return next((unit for unit in _UNITS if column.endswith(f"_{unit}")), None)


def unit_factor(column: str) -> float:
    """Return how many of the unit at the end of a column name are one in (square) micrometres or pixels."""
    unit = _unit_of(column)
    return _UNITS[unit][1] if unit else 1.0


class Label(NamedTuple):
    """What a report calls a quantity, its unit there, and the factor from the tables' values: 100 for percent."""

    name: Markup
    unit: str
    factor: int

    def interval(self, *values: float) -> str:
        """Return a value, lower and upper limit of the tables in the unit of the report, as `with_interval`."""
        return with_interval(*(self.factor * value for value in values))


def label_of(quantity: str, *, scaled: bool) -> Label:
    """Return what a report calls a quantity; `quantity` is its column in the tables."""
    name, unit = next(one for column, one in _LABELS.items() if column_name(column, scaled=scaled) == quantity)
    if not scaled:
        unit = unit.replace("\N{MICRO SIGN}m", "px").replace("mm", "px")
    return Label(with_subscripts(name), unit, 100 if unit == "%" else 1)


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
