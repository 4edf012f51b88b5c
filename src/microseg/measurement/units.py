"""The names of measured columns, with their units: in micrometres where there is a scale, in pixels where not."""

from collections.abc import Mapping
from typing import Any

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
