"""The corrected mean of a specimen: against Cochran's formulas, in simulations, and where none is given."""

import math
from statistics import fmean

import numpy as np
import pytest
from scipy.stats import t

from microseg.evaluation.intervals import FRACTION, NOT_NEGATIVE, ratio_interval
from microseg.measurement.difference_estimator import difference_estimate

NONE = math.nan


def test_the_mean_correction_is_added_to_the_mean_prediction():
    found = difference_estimate([1, 2, 3, 4, 5, 9], [NONE, 0.5, NONE, -0.1, 0.2, NONE], bounds=NOT_NEGATIVE)
    assert found.value == pytest.approx(4 + 0.2)


def test_the_variance_is_that_of_double_sampling():
    """Cochran's S_y^2 / n + (1/m - 1/n) S_d^2, with corrections d that depend on the predictions p = y - d."""
    rng = np.random.default_rng(0)
    n, m = 4000, 1000
    predicted = rng.normal(10, 2, n)
    differences = 0.3 * predicted + rng.normal(0, 1, n)
    expected = (1.3**2 * 4 + 1) / n + (1 / m - 1 / n) * (0.3**2 * 4 + 1)
    differences[m:] = NONE
    found = difference_estimate(predicted, differences, bounds=NOT_NEGATIVE)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(math.sqrt(expected), rel=0.05)


def test_with_every_field_corrected_it_is_the_interval_of_the_corrected_masks():
    predicted, corrected = np.array([0.1, 0.2, 0.15, 0.3]), np.array([0.12, 0.18, 0.2, 0.25])
    found = difference_estimate(predicted, corrected - predicted)
    expected = ratio_interval(corrected, np.ones(4), bounds=FRACTION)
    assert (found.value, found.low, found.high) == pytest.approx((corrected.mean(), expected.low, expected.high))
    assert found.corrections_to_halve is None


def test_fields_count_by_their_area():
    predicted, differences = [0.1, 0.3, 0.2, 0.4], [0.1, 0.0, 0.05, NONE]
    found = difference_estimate(predicted, differences, areas=[1, 2, 1, 4])
    assert found.value == pytest.approx((0.1 + 0.6 + 0.2 + 1.6) / 8 + (0.1 + 0.05) / 4)


def test_as_many_more_corrections_as_it_says_halve_the_interval():
    rng = np.random.default_rng(1)
    predicted, difference = np.full(400, 5.0) + rng.normal(0, 1e-3, 400), rng.normal(0, 1, 400)
    first = np.where(np.arange(400) < 10, difference, NONE)
    more = difference_estimate(predicted, first, bounds=NOT_NEGATIVE).corrections_to_halve

    def width(count: int) -> float:  # the error of the predictions is next to nothing
        return t.ppf(0.975, count - 1) * np.std(first[:10], ddof=1) / math.sqrt(count)

    assert more == next(count for count in range(11, 400) if width(count) <= width(10) / 2) - 10


def test_where_fields_are_few_no_number_of_corrections_halves_it():
    predicted, differences = [1, 5, 9, 2, 7, 4], [0.1, 0.2, 0.15, NONE, NONE, NONE]
    assert difference_estimate(predicted, differences, bounds=NOT_NEGATIVE).corrections_to_halve is None


@pytest.mark.parametrize("differences", [[0.1, 0.2, NONE, NONE], [0.0, 0.0, 0.0, NONE], [NONE] * 4])
def test_two_corrections_or_equal_ones_say_nothing(differences: list[float]):
    assert difference_estimate([0.1, 0.2, 0.3, 0.4], differences) is None


def test_a_fraction_stays_within_0_and_1():
    low = difference_estimate([0.01, 0.02, 0.01, 0.02], [-0.01, -0.03, 0.02, NONE])
    below = difference_estimate([0.01, 0.02, 0.01, 0.02], [-0.05, -0.03, -0.02, NONE])
    assert 0 <= low.low < low.value < low.high <= 1
    assert (below.low, below.value) == (0, 0)
    assert below.high < 1


@pytest.mark.parametrize(("fields", "corrected"), [(20, 5), (50, 20), (100, 10)])
@pytest.mark.parametrize("bias", [0, 0.1, 0.3])
def test_it_covers_whatever_the_bias_of_the_model(fields: int, corrected: int, bias: float):
    rng, hits = np.random.default_rng(fields), []
    for _ in range(300):
        true = rng.gamma(6, 0.1 / 6, fields)
        predicted = true * (1 + bias + rng.normal(0, 0.2, fields))
        known = rng.permutation(fields) < corrected
        found = difference_estimate(predicted, np.where(known, true - predicted, NONE))
        alone = ratio_interval(predicted, np.ones(fields), bounds=FRACTION)
        hits.append((found.low <= 0.1 <= found.high, alone.low <= 0.1 <= alone.high))
    covered, alone = (fmean(one) for one in zip(*hits, strict=True))
    assert 0.92 <= covered <= 0.98
    assert bias < 0.3 or alone < 0.6
