"""Estimates of a specimen and their intervals, against hand-worked values, scipy and simulated fields."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from microseg.measurement.formatting import column_name
from microseg.measurement.specimens import (
    COLUMNS,
    fields_for,
    rounded_up,
    sampling_warnings,
    specimen_table,
    summarize,
)
from microseg.measurement.stereology import QUANTITIES


def fields(fraction, number=6.0, interceptions=0.02, area=1e4, specimen="heat 1"):
    """Return a table of fields in pixels: area fraction, islands and interceptions per pixel of line in each."""
    table = pd.DataFrame({"area_fraction": fraction, "counted": number, "interceptions_per_px": interceptions})
    table["area_px2"], table["specimen"], table["islands"] = area, specimen, 6
    table["number_per_px2"] = table["number_without_specks_per_px2"] = table["counted"] / table["area_px2"]
    table["boundary_per_px"] = 4 * table["interceptions_per_px"]
    table["interceptions_x_per_px"] = table["interceptions_y_per_px"] = table["interceptions_per_px"]
    return table.astype({"area_fraction": float, "area_px2": float})


def estimates(table):
    """Return the estimates by quantity in pixels."""
    return {quantity: summarize(table, quantity, scaled=False) for quantity in QUANTITIES}


def test_a_worked_example():
    # 10, 12, 14 %: mean 12 and s = 2 %; t(0.975, 2) is 4.303 in tables, so half of Student's interval is 4.968 %.
    row = summarize(fields([0.10, 0.12, 0.14]), "area_fraction", scaled=False)
    assert row["fields"] == 3
    assert (row["mean"], row["standard_deviation"]) == pytest.approx((0.12, 0.02))
    # At its ends 0.04968 sqrt(p (1 - p) / (0.12 0.88)) is the distance from 0.12.
    for end in (row["low"], row["high"]):
        assert abs(end - 0.12) == pytest.approx(0.04968 * math.sqrt(end * (1 - end) / (0.12 * 0.88)), rel=1e-3)
    assert row["relative_accuracy_percent"] == pytest.approx(50 * (row["high"] - row["low"]) / 0.12)


def test_a_dense_phase_has_an_interval_below_one():
    row = summarize(fields([0.99, 0.90, 0.995, 0.97]), "area_fraction", scaled=False)
    assert 0.5 < row["low"] < row["mean"] < row["high"] < 1
    # The matrix, seen as the phase, has the same interval.
    matrix = summarize(fields([0.01, 0.10, 0.005, 0.03]), "area_fraction", scaled=False)
    assert (1 - row["high"], 1 - row["low"]) == pytest.approx((matrix["low"], matrix["high"]), rel=1e-9)


def test_the_formulas_of_the_report_hold_for_its_means_and_no_field_is_left_out():
    table = fields([0.02, 0.0, 0.08, 0.05], [1, 0, 9, 2.5], [0.004, 0, 0.02, 0.01], area=[1e4, 2e4, 1e4, 4e4])
    rows = estimates(table)
    a_a, n_a, n_l = (rows[name]["mean"] for name in ("area_fraction", "number_per_mm2", "interceptions_per_mm"))
    assert a_a == pytest.approx((200 + 0 + 800 + 2000) / 8e4)
    assert n_a == pytest.approx(12.5 / 8e4)
    assert rows["mean_area_um2"]["mean"] == pytest.approx(a_a / n_a)
    assert rows["mean_intercept_um"]["mean"] == pytest.approx(a_a / n_l)
    assert rows["mean_free_path_um"]["mean"] == pytest.approx((1 - a_a) / n_l)
    assert rows["boundary_per_mm"]["mean"] == pytest.approx(4 * n_l)
    assert [rows[name]["fields"] for name in ("area_fraction", "mean_free_path_um", "mean_area_um2")] == [4, 4, 3]


def test_micrometres_and_pixels_give_the_same():
    in_pixels = fields([0.05, 0.03, 0.08], [5, 4, 9], [0.012, 0.009, 0.02])
    size = 0.25
    factors = {"px2": size**2, "per_px": 1e3 / size, "per_px2": 1e6 / size**2}
    in_micrometres = in_pixels.rename(columns={column_name(name, scaled=False): name for name in QUANTITIES})
    in_micrometres = in_micrometres.rename(columns={"area_px2": "area_um2"})
    in_micrometres["area_um2"] *= factors["px2"]
    for name in QUANTITIES:
        if name in in_micrometres and name != "area_fraction":
            in_micrometres[name] *= factors["per_px2" if name.endswith("mm2") else "per_px"]
    for name, power in (("mean_area_um2", 2), ("mean_intercept_um", 1), ("mean_free_path_um", 1)):
        found, pixels = (
            summarize(table, name, scaled=scaled) for table, scaled in ((in_micrometres, True), (in_pixels, False))
        )
        for figure in ("mean", "standard_deviation", "low", "high"):
            assert found[figure] == pytest.approx(pixels[figure] * size**power)
        assert found["relative_accuracy_percent"] == pytest.approx(pixels["relative_accuracy_percent"])


def test_a_large_field_among_small_ones_is_worth_little_more_than_alone():
    equal = summarize(fields([0.1, 0.2, 0.2, 0.2]), "area_fraction", scaled=False)
    large = summarize(fields([0.1, 0.2, 0.2, 0.2], area=[4e4, 1e4, 1e4, 1e4]), "area_fraction", scaled=False)
    assert large["relative_accuracy_percent"] > 2 * equal["relative_accuracy_percent"]


def test_no_interval_below_three_fields_and_no_advice_below_five():
    for count in range(1, 7):
        row = summarize(fields([0.1, 0.12, 0.13, 0.09, 0.14, 0.11][:count]), "area_fraction", scaled=False)
        assert math.isnan(row["low"]) == math.isnan(row["high"]) == (count < 3)
        assert math.isnan(row["more_fields_for_5_percent"]) == (count < 5)


def test_islands_in_one_field_or_equal_fields_give_no_interval():
    assert math.isnan(summarize(fields([0, 0, 0.1, 0]), "area_fraction", scaled=False)["high"])
    same = summarize(fields([0.1] * 5), "area_fraction", scaled=False)
    assert same["mean"] == pytest.approx(0.1)
    assert math.isnan(same["high"])


def test_a_specimen_without_islands_has_an_upper_limit_of_their_number_alone():
    rows = estimates(fields([0.0] * 6, 0, 0, area=[1e4] * 5 + [5e4]))
    # Of 3.0 expected islands none is found in one of twenty specimens.
    number = rows["number_per_mm2"]
    assert (number["mean"], number["low"], number["high"]) == (0, 0, pytest.approx(2.9957 / 1e5, rel=1e-4))
    assert stats.poisson.pmf(0, 1e5 * number["high"]) == pytest.approx(0.05)
    assert rows["area_fraction"]["mean"] == 0
    assert math.isnan(rows["area_fraction"]["high"])
    assert math.isnan(rows["mean_area_um2"]["mean"])
    assert math.isnan(rows["mean_free_path_um"]["mean"])


def test_an_island_that_spans_one_field_leaves_the_number_of_the_specimen_undefined():
    rows = estimates(fields([0.1, 0.2, 0.12, 0.11, 0.1], [5, math.nan, 4, 6, 5], [0.02, 0.03, 0.02, 0.03, 0.02]))
    for name in ("number_per_mm2", "mean_area_um2"):
        assert math.isnan(rows[name]["mean"])
        assert math.isnan(rows[name]["high"])
    assert rows["area_fraction"]["mean"] == pytest.approx(0.126)
    assert rows["mean_intercept_um"]["high"] > 0


@pytest.mark.parametrize(("goal", "variation"), [(0.1, 0.02), (0.1, 0.16), (0.05, 0.4), (0.1, 3.7), (0.05, 0.01)])
def test_fields_needed_are_the_least_whose_own_t_reaches_the_goal(goal, variation):
    def half_width(count):
        return stats.t.ppf(0.975, count - 1) * variation / math.sqrt(count)

    needed = fields_for(goal, variation)
    assert half_width(needed) <= goal
    assert needed == 2 or half_width(needed - 1) > goal


def test_fields_needed_have_two_digits():
    assert [rounded_up(count) for count in (-3, 0, 7, 42, 101, 1341)] == [0, 0, 7, 42, 110, 1400]
    row = summarize(fields(np.linspace(0.05, 0.15, 7)), "area_fraction", scaled=False)
    # s is 0.036 of 0.1: 53 fields in all for 10 %, 202 for 5 %.
    assert (row["more_fields_for_10_percent"], row["more_fields_for_5_percent"]) == (46, 200)


def test_an_accuracy_that_is_reached_needs_no_more_fields():
    row = summarize(fields([0.10, 0.101, 0.099, 0.10, 0.1005]), "area_fraction", scaled=False)
    assert row["relative_accuracy_percent"] < 5
    assert row["more_fields_for_5_percent"] == 0


def test_the_table_has_a_row_for_each_specimen_and_quantity_in_their_order():
    table = pd.concat([fields([0.1, 0.2, 0.15], specimen="b"), fields([0.3, 0.1], specimen="a")])
    found = specimen_table(table, scaled=False)
    assert tuple(found) == COLUMNS
    assert found["specimen"].tolist() == ["b"] * len(QUANTITIES) + ["a"] * len(QUANTITIES)
    assert found["quantity"].tolist() == [column_name(one, scaled=False) for one in QUANTITIES] * 2
    assert found["fields"].unique().tolist() == [3, 2]


def test_few_islands_and_unequal_fields_are_warned_of():
    few = fields([0.1] * 4, area=[1e4, 1e4, 1.09e4, 1e4])
    unequal = fields([0.1] * 6, area=[1e4, 1e4, 4e4, 1e4, 1e4, 1e4], specimen="heat 2")
    warnings = list(sampling_warnings(pd.concat([few, unequal]), scaled=False))
    assert [(text.partition(":")[0], specimen) for text, specimen in warnings] == [
        ("fewer than 30 islands in all", "heat 1 (24)"),
        ("the area of the fields differs; each counts by its area", "heat 2 (4.0-fold)"),
    ]


def test_lines_along_x_and_y_have_a_ratio_of_sums_in_which_no_field_is_left_out():
    table = fields([0.1] * 6, area=[1e4, 1e4, 2e4, 1e4, 1e4, 1e4])
    table["interceptions_x_per_px"] = [0.02, 0, 0.02, 0.03, 0.02, 0]
    table["interceptions_y_per_px"] = [0.01, 0.01, 0.02, 0.02, 0.02, 0]
    row = summarize(table, "interceptions_x_over_y", scaled=False)
    # The second field has islands that only lines along y meet; the last one says nothing of the ratio.
    assert row["fields"] == 5
    assert row["mean"] == pytest.approx((200 + 0 + 400 + 300 + 200) / (100 + 100 + 400 + 200 + 200))
    assert 0 < row["low"] < row["mean"] < row["high"]


def simulated(rng, count, islands_per_field):
    """Return fields of islands scattered at random whose areas have a standard deviation of half their mean."""
    number = rng.poisson(islands_per_field, count)
    area = rng.gamma(4 * np.maximum(number, 1e-9), 100 / 4)
    diameter = rng.gamma(16 * np.maximum(number, 1e-9), 11 / 16) + area / 1000
    return fields(np.where(number, area, 0) / 1e4, number, np.where(number, diameter, 0) / 1e4)


@pytest.mark.parametrize(("count", "islands"), [(3, 2), (5, 1), (20, 5)])
def test_intervals_cover_as_often_as_they_say(count, islands):
    # The bounds allow for 500 trials; benchmarks/coverage_of_quantities.py draws micrographs, and more of them.
    rng = np.random.default_rng(7)
    many = simulated(rng, 20_000, islands)
    a_a, n_a, n_l = (many[name].mean() for name in ("area_fraction", "number_per_px2", "interceptions_per_px"))
    true = {
        "area_fraction": a_a,
        "number_per_mm2": n_a,
        "mean_area_um2": a_a / n_a,
        "mean_free_path_um": (1 - a_a) / n_l,
    }
    covered = {quantity: [] for quantity in true}
    for _ in range(500):
        drawn = many.iloc[rng.integers(0, len(many), count)]
        for quantity, value in true.items():
            row = summarize(drawn, quantity, scaled=False)
            if not math.isnan(row["low"]):
                covered[quantity].append(row["low"] <= value <= row["high"])
    for quantity, hits in covered.items():
        assert 0.92 - 0.012 < np.mean(hits) < 0.98 + 0.01, quantity


def test_the_mean_free_path_is_not_too_long_where_islands_are_sparse():
    many = simulated(np.random.default_rng(8), 15_000, 2)
    true = (1 - many["area_fraction"].mean()) / many["interceptions_per_px"].mean()
    drawn = [
        summarize(many[start : start + 30], "mean_free_path_um", scaled=False)["mean"]
        for start in range(0, 15_000, 30)
    ]
    ratios = (1 - many["area_fraction"]) / many["interceptions_per_px"].where(many["interceptions_per_px"] > 0)
    assert ratios.mean() > 1.2 * true  # what a mean of the fields' own would be
    assert np.mean(drawn) == pytest.approx(true, rel=0.03)
