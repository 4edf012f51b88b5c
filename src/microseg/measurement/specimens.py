"""From fields to specimens: estimates with confidence intervals, and how many more fields would narrow them.

Every quantity of a specimen is a ratio of sums over its fields, in which a field counts by its area: A_A is the
area of all islands by that of all fields, the mean area of an island is A_A / N_A. The mean of the fields' own
ratios would be too large, the more so the fewer islands a field has, and would leave out the fields without any.
"""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from microseg.evaluation.intervals import (
    CONFIDENCE,
    FEWEST_UNITS,
    FRACTION,
    NOT_NEGATIVE,
    StandardError,
    Values,
    holm,
    ratio_interval,
    standard_error,
    welch,
)
from microseg.measurement.formatting import column_name, number, unit_factor
from microseg.measurement.stereology import QUANTITIES

FEWEST_FOR_A_HEADLINE = 5
"""With fewer fields there is no headline, and no number of fields that would be enough."""
FEWEST_ISLANDS = 30
"""With fewer islands in all the report warns that they are few."""
FEW_SPECIMENS = 4
"""So many are compared each with each; of more each is compared with the first."""
UNEQUAL = 1.1
"""The report warns where areas or pixel sizes of fields differ by a larger factor."""
ACCURACIES = (10, 5)
"""Relative accuracies in percent for which the number of fields needed is given."""

COLUMNS = (
    *("specimen", "quantity", "fields", "mean", "standard_deviation", "low", "high", "relative_accuracy_percent"),
    *(f"more_fields_for_{accuracy}_percent" for accuracy in ACCURACIES),
)

DIFFERENCE_COLUMNS = ("specimen", "minus", "quantity", "difference", "low", "high", "p")

INVERSE: dict[str, tuple[str, Literal["islands", "matrix", "lines along x"]]] = {
    "mean_area_um2": ("number_per_mm2", "islands"),
    "mean_intercept_um": ("interceptions_per_mm", "islands"),
    "mean_free_path_um": ("interceptions_per_mm", "matrix"),
    "interceptions_x_over_y": ("interceptions_y_per_mm", "lines along x"),
}
"""Quantities that are the area of islands or matrix, or interceptions along x, by what is counted in them."""


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
    counted, extent, factor = _sums(fields, quantity, scaled=scaled)
    count, ratio, variation = len(extent), counted.sum() / extent.sum() if extent.any() else math.nan, math.nan
    if count > 1 and ratio > 0:
        residuals = (counted / ratio - extent) / extent.mean()
        variation = math.sqrt((residuals**2).sum() / (count - 1))
    inverse = quantity in INVERSE
    mean = factor * ratio if not inverse else 1 / ratio if ratio else math.nan
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
    if inverse:
        low, high = 1 / interval.high, 1 / interval.low
    row |= {"low": low, "high": high, "relative_accuracy_percent": 50 * (high - low) / mean}
    if count >= FEWEST_FOR_A_HEADLINE:
        for goal in ACCURACIES:
            row[f"more_fields_for_{goal}_percent"] = rounded_up(fields_for(goal / 100, variation) - count)
    return row


def _sums(fields: pd.DataFrame, quantity: str, *, scaled: bool) -> tuple[Values, Values, float]:
    """Return what is counted in each field and in how much, in pixels or micrometres, and the factor to the unit.

    The quantity is the factor times the ratio of their sums, or the inverse of this ratio if it is in INVERSE.
    """

    def column(name: str) -> Values:
        name = column_name(name, scaled=scaled)
        return np.asarray(fields[name], np.float64) / unit_factor(name)

    counted_in, of = INVERSE.get(quantity, (quantity, "fields"))
    area, fraction = column("area_um2"), column("area_fraction")
    extents = {"fields": area, "islands": area * fraction, "matrix": area * (1 - fraction)}
    extents["lines along x"] = area * column("interceptions_x_per_mm")
    extent, counted = extents[of], area * column(counted_in)
    known = (extent > 0) | (counted > 0)
    return counted[known], extent[known], unit_factor(column_name(counted_in, scaled=scaled))


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


def difference_table(fields: pd.DataFrame, *, scaled: bool) -> pd.DataFrame:
    """Compare specimens: up to FEW_SPECIMENS each with each, more with the first.

    Args:
        fields: the table of fields, each of them once.
        scaled: whether its lengths are in micrometres or in pixels.

    Returns:
        A row of DIFFERENCE_COLUMNS for each quantity and pair that both have a standard error: the specimen minus
        another one, its 95 % interval, and the p-value after Holm for the pairs of the quantity.
    """
    groups = {str(name): group for name, group in fields.groupby("specimen", sort=False)}
    pairs = [(later, earlier) for earlier, later in combinations(groups, 2)]
    if len(groups) > FEW_SPECIMENS:
        pairs = pairs[: len(groups) - 1]
    rows = []
    for quantity in QUANTITIES:
        errors = {name: _standard_error(group, quantity, scaled=scaled) for name, group in groups.items()}
        found = [
            (pair, *welch(first, second))
            for pair in pairs
            if (first := errors[pair[0]]) and (second := errors[pair[1]])
        ]
        column = column_name(quantity, scaled=scaled)
        for (pair, difference, interval, _), p in zip(found, holm([p for *_, p in found]), strict=True):
            rows.append([*pair, column, difference, interval.low, interval.high, p])
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


def _standard_error(fields: pd.DataFrame, quantity: str, *, scaled: bool) -> StandardError | None:
    """Return a quantity of a specimen with its standard error and degrees of freedom, None without interval."""
    counted, extent, factor = _sums(fields, quantity, scaled=scaled)
    found = standard_error(np.stack([counted, extent])) if np.count_nonzero(counted > 0) > 1 else None
    if found is None or math.isnan(found[0]):
        return None
    ratio, error, freedom = found
    if quantity in INVERSE:
        return 1 / ratio, error / ratio**2, freedom
    return factor * ratio, factor * error, freedom


def sampling_warnings(fields: pd.DataFrame, *, scaled: bool) -> Iterator[tuple[str, str]]:
    """Yield what weakens the estimates, and of which specimen; arguments as for `specimen_table`."""
    for specimen, group in fields.groupby("specimen", sort=False):
        islands = int(group["islands"].sum())
        if 0 < islands < FEWEST_ISLANDS:
            few = f"fewer than {FEWEST_ISLANDS} islands in all: the intervals are wide, and hold for islands"
            yield f"{few} scattered at random", f"{specimen} ({islands})"
        for column, what in (("area_um2", "area"), ("pixel_size_um", "pixel size")):
            name = column_name(column, scaled=scaled)
            if name in group and group[name].max() > UNEQUAL * group[name].min():
                factor = number(group[name].max() / group[name].min(), 2)
                yield f"the {what} of the fields differs; each counts by its area", f"{specimen} ({factor}-fold)"
