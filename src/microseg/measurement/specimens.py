"""From fields to specimens: estimates with confidence intervals, and how many more fields would narrow them.

Every quantity of a specimen is a ratio of sums over its fields, in which a field counts by its area: A_A is the
area of all islands by that of all fields, the mean area of an island is A_A / N_A. The mean of the fields' own
ratios would be too large, the more so the fewer islands a field has, and would leave out the fields without any.
"""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from microseg.evaluation.intervals import CONFIDENCE, FEWEST_UNITS, FRACTION, NOT_NEGATIVE, ratio_interval
from microseg.measurement.formatting import column_name, number, unit_factor
from microseg.measurement.stereology import QUANTITIES

FEWEST_FOR_A_HEADLINE = 5
"""With fewer fields there is no headline, and no number of fields that would be enough."""
FEWEST_ISLANDS = 30
"""With fewer islands in all the report warns that they are few."""
UNEQUAL = 1.1
"""The report warns where areas or pixel sizes of fields differ by a larger factor."""
ACCURACIES = (10, 5)
"""Relative accuracies in percent for which the number of fields needed is given."""

COLUMNS = (
    *("specimen", "quantity", "fields", "mean", "standard_deviation", "low", "high", "relative_accuracy_percent"),
    *(f"more_fields_for_{accuracy}_percent" for accuracy in ACCURACIES),
)

COUNTED_IN: dict[str, tuple[str, Literal["islands", "matrix"]]] = {
    "mean_area_um2": ("number_per_mm2", "islands"),
    "mean_intercept_um": ("interceptions_per_mm", "islands"),
    "mean_free_path_um": ("interceptions_per_mm", "matrix"),
}
"""Quantities that are the area of the islands, or of the matrix between them, by what is counted in it."""


def specimen_table(fields: pd.DataFrame, *, scaled: bool) -> pd.DataFrame:
    """Return the table of specimens: a row of COLUMNS for each specimen and quantity.

    Args:
        fields: the table of fields, each of them once.
        scaled: whether its lengths are in micrometres or in pixels.
    """
    rows = [
        {"specimen": specimen, "quantity": column_name(one, scaled=scaled), **summarize(group, one, scaled=scaled)}
        for specimen, group in fields.groupby("specimen", sort=False)
        for one in QUANTITIES
    ]
    counts = [column for column in COLUMNS if "fields" in column]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(counts, "Int64"))


def summarize(fields: pd.DataFrame, quantity: str, *, scaled: bool) -> dict[str, float]:
    """Estimate one quantity of a specimen.

    Args:
        fields: the rows of its fields in the table of fields.
        quantity: one of QUANTITIES.
        scaled: whether lengths are in micrometres or in pixels.

    Returns:
        The columns COLUMNS from `fields` on: number of fields that say something about the quantity; its estimate;
        standard deviation between fields; 95 % interval, or where no island was found the upper limit of their
        number; relative accuracy, half the width of the interval in percent of the estimate; how many more fields
        would bring it to 10 and to 5 percent. NaN where a figure is not defined: an interval of fewer than three
        fields or of islands in fewer than two, numbers of fields from fewer than five.
    """
    column, inside = COUNTED_IN.get(quantity, (quantity, None))
    name = column_name(column, scaled=scaled)
    area, fraction = fields[column_name("area_um2", scaled=scaled)].to_numpy(), fields["area_fraction"].to_numpy()
    extent = area * {None: 1, "islands": fraction, "matrix": 1 - fraction}[inside]
    counted = (area * fields[name].to_numpy(np.float64) / unit_factor(name))[extent > 0]
    extent = extent[extent > 0]
    count, ratio, variation = len(extent), counted.sum() / extent.sum() if extent.any() else math.nan, math.nan
    if count > 1 and ratio > 0:
        residuals = (counted / ratio - extent) / extent.mean()
        variation = math.sqrt((residuals**2).sum() / (count - 1))
    factor = unit_factor(name)
    mean = factor * ratio if not inside else 1 / ratio if ratio else math.nan
    row = dict.fromkeys(COLUMNS[2:], math.nan)
    row |= {"fields": count, "mean": mean, "standard_deviation": mean * variation}
    if ratio == 0 and quantity.startswith("number") and count >= FEWEST_UNITS:
        # Poisson's exact limit: of 3.0 expected islands none is found in one of twenty specimens.
        return row | {"low": 0.0, "high": -factor * math.log(1 - CONFIDENCE) / extent.sum()}
    bounds = FRACTION if quantity == "area_fraction" else NOT_NEGATIVE
    interval = ratio_interval(counted, extent, bounds=bounds) if np.count_nonzero(counted > 0) > 1 else None
    if interval is None or math.isnan(mean):
        return row
    low, high = factor * interval.low, factor * interval.high
    if inside:
        low, high = 1 / interval.high, 1 / interval.low
    row |= {"low": low, "high": high, "relative_accuracy_percent": 50 * (high - low) / mean}
    if count >= FEWEST_FOR_A_HEADLINE:
        for goal in ACCURACIES:
            row[f"more_fields_for_{goal}_percent"] = rounded_up(fields_for(goal / 100, variation) - count)
    return row


def fields_for(goal: float, variation: float) -> int:
    """Return the least number of fields n at which t(n - 1) `variation` / sqrt(n) is at most `goal`.

    Args:
        goal: relative half-width of the interval.
        variation: standard deviation between fields by the mean.
    """
    # Never too many to begin with: t falls towards the 1.96 of the normal distribution.
    fields = max(2, math.floor((1.9599 * variation / goal) ** 2))
    while float(stdtrit(fields - 1, (1 + CONFIDENCE) / 2)) * variation / math.sqrt(fields) > goal:
        fields += 1
    return fields


def rounded_up(count: int) -> int:
    """Return a number of fields with two significant digits, 0 where it is negative."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return max(0, -(-count // step) * step)


def sampling_warnings(fields: pd.DataFrame, *, scaled: bool) -> Iterator[str]:
    """Yield what about the fields of each specimen weakens its estimates; arguments as for `specimen_table`."""
    for specimen, group in fields.groupby("specimen", sort=False):
        islands = int(group["islands"].sum())
        if 0 < islands < FEWEST_ISLANDS:
            yield (
                f"{specimen}: {islands} island{'s' if islands > 1 else ''} in all, fewer than {FEWEST_ISLANDS}: "
                "the intervals are wide, and hold for islands scattered at random"
            )
        for column, what in (("area_um2", "area"), ("pixel_size_um", "pixel size")):
            name = column_name(column, scaled=scaled)
            if name in group and group[name].max() > UNEQUAL * group[name].min():
                factor = number(group[name].max() / group[name].min(), 2)
                yield f"{specimen}: the {what} of its fields differs {factor}-fold; each counts by its area"
