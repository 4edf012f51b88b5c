"""From fields to specimens: means with confidence intervals, and how many more fields would narrow them."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

CONFIDENCE = 0.95
FEWEST_FOR_AN_INTERVAL = 3
"""With fewer fields no interval is given."""
FEWEST_FOR_A_HEADLINE = 5
"""With fewer fields the report's headline advises against relying on it."""
ACCURACIES = (10, 5)
"""Relative accuracies in percent for which the number of fields needed is given."""

COLUMNS = (
    *("specimen", "quantity", "fields", "mean", "standard_deviation", "interval95", "relative_accuracy_percent"),
    *(f"fields_for_{accuracy}_percent" for accuracy in ACCURACIES),
    *(f"more_fields_for_{accuracy}_percent" for accuracy in ACCURACIES),
)


def specimen_table(fields: pd.DataFrame, quantities: Sequence[str]) -> pd.DataFrame:
    """Return the table of specimens: a row of COLUMNS for each specimen and quantity.

    Args:
        fields: a row for each field with the columns specimen and `quantities`.
        quantities: the columns to summarize.
    """
    rows = [
        {"specimen": specimen, "quantity": quantity, **summarize(group[quantity].tolist())}
        for specimen, group in fields.groupby("specimen", sort=False)
        for quantity in quantities
    ]
    counts = [column for column in COLUMNS if column == "fields" or "fields_for_" in column]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(counts, "Int64"))


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Summarize one quantity over the fields of a specimen, after ASTM E562.

    Args:
        values: one for each field; fields where it is not defined (NaN) are excluded.

    Returns:
        The columns COLUMNS from `fields` on: number of fields, mean, standard deviation with n - 1, half the width
        of the 95 % interval, relative accuracy 100 interval / mean in percent, and how many fields, in total and
        in addition to these, would bring it to 10 and to 5 percent. The interval narrows with the square root of
        the number of fields. NaN where a figure is not defined; below three fields from the interval on.
    """
    defined = pd.Series(values, dtype=float).dropna()
    count = len(defined)
    mean = float(defined.mean())
    standard_deviation = float(defined.std())
    interval = half_interval(standard_deviation, count) if count >= FEWEST_FOR_AN_INTERVAL else math.nan
    accuracy = 100 * interval / abs(mean) if mean else math.nan
    row = {
        "fields": count,
        "mean": mean,
        "standard_deviation": standard_deviation,
        "interval95": interval,
        "relative_accuracy_percent": accuracy,
    }
    needed = {goal: fields_for(accuracy, count, goal) for goal in ACCURACIES}
    row |= {f"fields_for_{goal}_percent": fields for goal, fields in needed.items()}
    row |= {
        f"more_fields_for_{goal}_percent": float(np.maximum(fields - count, 0)) for goal, fields in needed.items()
    }
    return row


def half_interval(standard_deviation: float, count: int) -> float:
    """Return half the width of Student's 95 % interval of a mean, t(0.975, n - 1) s / sqrt(n).

    Args:
        standard_deviation: s of the values, with n - 1.
        count: their number n, at least 2.
    """
    return float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * standard_deviation / math.sqrt(count)


def fields_for(accuracy: float, count: int, goal: float) -> float:
    """Return how many fields in total bring the relative `accuracy` of `count` fields to `goal`, in percent."""
    return math.nan if math.isnan(accuracy) else float(math.ceil(count * (accuracy / goal) ** 2))
