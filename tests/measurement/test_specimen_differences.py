"""Differences between specimens, against scipy's own Welch's test and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from microseg.measurement.specimens import DIFFERENCE_COLUMNS, difference_table


def fields(specimen, fraction, interceptions=0.02, area=1e4):
    """Return the fields of a specimen in pixels."""
    table = pd.DataFrame({"specimen": specimen, "area_fraction": fraction, "interceptions_per_px": interceptions})
    table["area_px2"], table["number_per_px2"] = area, table["area_fraction"] / 100
    table["number_without_specks_per_px2"], table["boundary_per_px"] = table["number_per_px2"], 0.08
    table["interceptions_x_per_px"] = table["interceptions_y_per_px"] = table["interceptions_per_px"]
    return table


def differences(*tables, quantity="area_fraction"):
    found = difference_table(pd.concat(tables), scaled=False)
    return found[found["quantity"] == quantity].to_dict("records")


FIRST, SECOND = [0.10, 0.13, 0.11, 0.15, 0.09], [0.16, 0.22, 0.12, 0.19, 0.25, 0.14, 0.2]


def test_fields_of_one_size_have_the_interval_and_p_of_welch():
    (row,) = differences(fields("a", FIRST), fields("b", SECOND))
    test = stats.ttest_ind(SECOND, FIRST, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert tuple(row) == DIFFERENCE_COLUMNS
    assert (row["specimen"], row["minus"]) == ("b", "a")
    assert row["difference"] == pytest.approx(np.mean(SECOND) - np.mean(FIRST))
    assert (row["low"], row["high"], row["p"]) == pytest.approx((interval.low, interval.high, test.pvalue))


def test_a_ratio_has_the_error_of_the_delta_method():
    rng = np.random.default_rng(0)
    tables, values, variances = [], [], []
    for name, mean in (("a", 0.02), ("b", 0.03)):
        lines = rng.normal(mean, 0.002, 400)
        fraction = 5 * lines + rng.normal(0, 0.002, 400)
        tables.append(fields(name, fraction, lines))
        values.append(fraction.mean() / lines.mean())
        variances.append((fraction - values[-1] * lines).var(ddof=1) / 400 / lines.mean() ** 2)
    (row,) = differences(*tables, quantity="mean_intercept_px")
    assert row["difference"] == pytest.approx(values[1] - values[0])
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.963 * np.sqrt(sum(variances)), rel=0.01)


def test_few_specimens_are_compared_each_with_each_and_p_is_adjusted_after_holm():
    third = [0.3, 0.28, 0.33, 0.31]
    rows = differences(fields("a", FIRST), fields("b", SECOND), fields("c", third))
    assert [(row["specimen"], row["minus"]) for row in rows] == [("b", "a"), ("c", "a"), ("c", "b")]
    alone = [
        stats.ttest_ind(*pair, equal_var=False).pvalue
        for pair in ((FIRST, SECOND), (FIRST, third), (SECOND, third))
    ]
    smallest, middle, largest = sorted(alone)
    adjusted = [3 * smallest, max(3 * smallest, 2 * middle), max(3 * smallest, 2 * middle, largest)]
    assert sorted(row["p"] for row in rows) == pytest.approx(adjusted)


def test_many_specimens_are_compared_with_the_first():
    rng = np.random.default_rng(1)
    rows = differences(*(fields(f"heat {number}", rng.normal(0.2, 0.02, 4)) for number in range(6)))
    assert [(row["specimen"], row["minus"]) for row in rows] == [
        (f"heat {number}", "heat 0") for number in range(1, 6)
    ]


def test_what_has_no_interval_has_no_difference():
    assert differences(fields("a", FIRST), fields("b", [0.1, 0.2])) == []
    assert differences(fields("a", FIRST), fields("b", [0.0] * 5, 0.0)) == []
    assert difference_table(fields("a", FIRST), scaled=False).empty


def test_few_fields_without_a_difference_are_rarely_said_to_differ():
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(200):
        one, other = (fields(name, rng.gamma(4, 0.02, 5)) for name in "ab")
        (row,) = differences(one, other)
        wrong += row["p"] <= 0.05
    assert wrong <= 19  # at 5 of 100, more come in one of a hundred cases
