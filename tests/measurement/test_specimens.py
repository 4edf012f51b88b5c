import io
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from microseg.measurement.specimens import COLUMNS, specimen_table, summarize


def test_a_worked_example():
    # 10, 12, 14: mean 12, s = 2, t(0.975, 2) = 4.303 as tables have it, so the interval is 4.303 * 2 / sqrt(3).
    row = summarize([10, 12, 14])
    assert (row["fields"], row["mean"], row["standard_deviation"]) == (3, 12, 2)
    assert row["interval95"] == pytest.approx(4.303 * 2 / math.sqrt(3), rel=1e-4)
    assert row["relative_accuracy_percent"] == pytest.approx(41.4, abs=0.05)
    # 3 * (41.40 / 10)^2 = 51.4 and 3 * (41.40 / 5)^2 = 205.7.
    assert (row["fields_for_10_percent"], row["fields_for_5_percent"]) == (52, 206)
    assert (row["more_fields_for_10_percent"], row["more_fields_for_5_percent"]) == (49, 203)


def test_an_accuracy_that_is_reached_needs_no_more_fields():
    row = summarize([10, 10.1, 9.9, 10, 10.05])
    assert row["relative_accuracy_percent"] < 5
    assert row["more_fields_for_5_percent"] == 0
    assert row["fields_for_5_percent"] <= 5


def test_no_interval_below_three_fields():
    for values in ([5.0], [5.0, 6.0]):
        row = summarize(values)
        assert row["mean"] == np.mean(values)
        assert math.isnan(row["interval95"])
        assert math.isnan(row["fields_for_10_percent"])


def test_fields_where_a_quantity_is_not_defined_are_excluded():
    assert summarize([1, math.nan, 3, 5]) == summarize([1, 3, 5])
    assert summarize([math.nan])["fields"] == 0


def test_a_mean_of_zero_has_no_relative_accuracy():
    row = summarize([0, 0, 0])
    assert (row["mean"], row["interval95"]) == (0, 0)
    assert math.isnan(row["relative_accuracy_percent"])


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    samples = np.random.default_rng(1).normal(3, 1, (4000, 6))
    rows = [summarize(sample.tolist()) for sample in samples]
    covered = np.mean([abs(row["mean"] - 3) <= row["interval95"] for row in rows])
    # 4000 trials of 0.95 have a standard error of 0.0034.
    assert covered == pytest.approx(0.95, abs=0.012)


def test_the_table_agrees_with_pandas_and_scipy_on_the_written_fields():
    random = np.random.default_rng(2)
    fields = pd.DataFrame(
        {
            "image": [f"{number}.png" for number in range(9)],
            "specimen": ["b"] * 5 + ["a"] * 4,
            "area_fraction": random.uniform(0.1, 0.2, 9),
            "mean_free_path_um": random.uniform(5, 9, 9),
        }
    )
    text = fields.to_csv(index=False)
    table = specimen_table(fields, ["area_fraction", "mean_free_path_um"])
    assert tuple(table) == COLUMNS
    assert table["specimen"].unique().tolist() == ["b", "a"]
    read = pd.read_csv(io.StringIO(text))
    for row in table.itertuples():
        values = read.loc[read["specimen"] == row.specimen, row.quantity]
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert row.fields == len(values)
        assert row.mean == pytest.approx(values.mean(), rel=1e-14)
        assert row.standard_deviation == pytest.approx(values.std(), rel=1e-14)
        assert row.interval95 == pytest.approx((high - low) / 2, rel=1e-12)
        assert row.relative_accuracy_percent == pytest.approx(100 * (high - low) / 2 / values.mean(), rel=1e-12)
