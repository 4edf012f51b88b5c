"""Intervals contain the truth as often as they say, from three units on; there is none where none is honest."""

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from microseg.evaluation.intervals import (
    FRACTION,
    FRACTION_DIFFERENCE,
    NOT_NEGATIVE,
    Estimate,
    Interval,
    difference_interval,
    estimate,
    estimate_fraction,
    ratio_interval,
    unit_numbers,
    wilcoxon_p,
    wilson_interval,
)

DATA_SETS = 1000


def mean_interval(values, groups=None, bounds=None):
    return estimate(values, groups=groups, bounds=bounds).interval


def scores(random, units):
    return mean_interval(random.beta(30, 1, units), bounds=FRACTION), 30 / 31


def pooled_score(random, units):
    union = random.uniform(50, 2000, units)
    return ratio_interval(union * random.beta(4, 1.5, units), union, bounds=FRACTION), 4 / 5.5


def difference(random, units):
    one = random.beta(4, 1.5, units)
    first = np.clip(one + 0.02 + random.normal(0, 0.05, units), 0, 1.2)
    return difference_interval((first, np.ones(units)), (one, np.ones(units)), bounds=FRACTION_DIFFERENCE), 0.02


def unequal_groups(random, units):
    sizes = np.ceil(random.lognormal(1.5, 1, units)).astype(int)
    groups = np.repeat(np.arange(units), sizes)
    values = 0.7 + random.normal(0, 0.05, units)[groups] + random.normal(0, 0.05, groups.size)
    return mean_interval(values, groups=[str(group) for group in groups], bounds=FRACTION), 0.7


def islands_per_field(random, units):
    return mean_interval(random.poisson(2, units), bounds=NOT_NEGATIVE), 2


def coverage(draw, units):
    random = np.random.default_rng(units)
    drawn = [draw(random, units) for _ in range(DATA_SETS)]
    return np.mean([found.low <= truth <= found.high for found, truth in drawn if found is not None])


@pytest.mark.parametrize("units", [3, 4, 5, 10, 30])
@pytest.mark.parametrize("draw", [scores, pooled_score, difference, unequal_groups, islands_per_field])
def test_intervals_contain_the_truth_as_often_as_they_say(draw, units):
    assert 0.92 <= coverage(draw, units) <= 0.98


def test_micrographs_of_one_specimen_are_not_independent():
    def as_if_independent(random, units):
        specimen = np.repeat(random.normal(0.7, 0.05, units), 5)
        return mean_interval(specimen + random.normal(0, 0.01, specimen.size)), 0.7

    assert coverage(as_if_independent, 8) < 0.85


def test_without_groups_and_bounds_it_is_students():
    values = np.random.default_rng(0).normal(5, 2, 7)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    interval = mean_interval(values)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_the_jackknife_of_a_ratio_by_hand():
    # 6 / 6 in all; 5/4, 4/4 and 3/4 with one unit omitted; effective units 36 / 12 = 3, so t(0.975; 2) = 4.3027.
    error = math.sqrt(2 / 3 * (0.25**2 + 0 + 0.25**2))
    interval = ratio_interval([1, 2, 3], [2, 2, 2])
    assert (interval.low, interval.high) == pytest.approx((1 - 4.3027 * error, 1 + 4.3027 * error), abs=1e-4)


def test_bounds_hold_and_each_end_is_where_its_own_standard_error_reaches_the_value():
    values = [0.96, 0.99, 1.0, 0.93]
    interval = mean_interval(values, bounds=FRACTION)
    assert 0 < interval.low < 0.93
    assert 0.99 < interval.high < 1
    assert mean_interval(values).high > 1
    mean, error = np.mean(values), np.std(values, ddof=1) / 2
    for end in (interval.low, interval.high):
        own = error * math.sqrt(end * (1 - end) / (mean * (1 - mean)))
        assert abs(end - mean) == pytest.approx(t.ppf(0.975, 3) * own)
    counts = mean_interval([0, 0, 1, 0], bounds=NOT_NEGATIVE)
    assert 0 < counts.low < 0.25 < counts.high


def test_there_is_no_interval_where_none_is_honest():
    assert mean_interval([0.4, 0.6]) is None
    assert mean_interval([0.4, 0.6, 0.5], groups=["a", "a", "b"]) is None
    assert mean_interval([0.5] * 10) is None  # nothing is known of how much they differ
    # Three groups, one of which has ten of twelve micrographs: 144 / 102 effective ones.
    assert mean_interval(np.linspace(0, 1, 12), groups=["a"] * 10 + ["b", "c"]) is None
    assert ratio_interval([1, 0, 0], [2, 0, 0]) is None
    assert ratio_interval([0, 0, 0], [0, 0, 0]) is None


def test_micrographs_without_a_group_are_units_of_their_own():
    values = [0.1, 0.4, 0.5, 0.9]
    assert mean_interval(values, groups=["", "", "", ""]) == mean_interval(values)
    # The micrograph at place 3 has no group and is not in the group called "3".
    assert unit_numbers(["3", "NA", "3", ""]).tolist() == [0, 1, 0, 2]


def test_an_estimate_in_words():
    assert str(Estimate(0.5, Interval(0.4, 0.61234))) == "0.5000 (95 % interval 0.4000 to 0.6123)"
    assert str(Estimate(0.5)) == "0.5000"
    assert Estimate(0.5, Interval(0.4, 0.6)).bounds == [0.4, 0.6]


def test_values_by_hand():
    assert estimate([1, 2], [4, 2]).value == pytest.approx(3 / 6)
    assert estimate([0.2, 0.4]) == Estimate(pytest.approx(0.3))
    assert estimate([0, 0, 0], [0, 0, 0]) == Estimate(1.0)


def test_fractions_that_all_or_none_reach_have_wilsons_interval():
    # None of 20: z^2 / (20 + z^2) at most (Wilson, Journal of the American Statistical Association 22:209, 1927).
    assert estimate_fraction([False] * 20).bounds == pytest.approx([0, 3.8415 / 23.8415], abs=1e-5)
    # All islands of three micrographs, one of which has none.
    found = estimate_fraction([5, 0, 2], [5, 0, 2])
    assert (found.value, found.interval) == (1, wilson_interval(2, 2))
    some = estimate_fraction([True, *[False] * 19])
    assert 0 < some.interval.low < 0.05 < some.interval.high < 0.3


def test_wilsons_interval_by_hand():
    # 8 of 10.
    z = 1.959964
    centre = (0.8 + z**2 / 20) / (1 + z**2 / 10)
    half = z * math.sqrt(0.8 * 0.2 / 10 + z**2 / 400) / (1 + z**2 / 10)
    interval = wilson_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((centre - half, centre + half), abs=1e-5)


def test_wilcoxon_by_hand():
    # Six differences of one sign: 2 / 2**6.
    assert wilcoxon_p([1, 2, 3, 4, 5, 6], [0] * 6, [""] * 6) == pytest.approx(2 / 64)
    assert wilcoxon_p([0.5, 0.6], [0.5, 0.6], ["", ""]) is None
    assert wilcoxon_p([1, 2, 3, 4, 5, 6], [0] * 6, ["a", "a", "a", "b", "b", "b"]) is None
