"""Intervals: by hand, in the edge cases, and whether they contain the truth as often as they say."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from microseg.evaluation import intervals
from microseg.evaluation.intervals import (
    Interval,
    mean_interval,
    ratio_difference,
    ratio_interval,
    student_interval,
    wilcoxon_p,
    wilson_interval,
)

DATA_SETS, MICROGRAPHS = 1000, 40


def pooled_interval(random):
    union = random.lognormal(6, 0.7, MICROGRAPHS)
    return ratio_interval(union * random.beta(4, 1.5, MICROGRAPHS), union), 4 / 5.5


def paired_difference(random):
    first = random.beta(4, 1.5, MICROGRAPHS)
    second, one = first - random.normal(0.02, 0.05, MICROGRAPHS), np.ones(MICROGRAPHS)
    return ratio_difference((first, one), (second, one)), 0.02


def micrographs_of_specimens(random):
    sizes = random.integers(1, 6, MICROGRAPHS)
    specimens = np.repeat(np.arange(MICROGRAPHS), sizes)
    return 0.7 + random.normal(0, 0.1, MICROGRAPHS)[specimens] + random.normal(0, 0.05, sizes.sum()), specimens


def over_specimens(random):
    values, specimens = micrographs_of_specimens(random)
    return mean_interval(values, [str(specimen) for specimen in specimens]), 0.7


def as_if_independent(random):
    return mean_interval(micrographs_of_specimens(random)[0]), 0.7


def students(random):
    return student_interval(random.normal(0.7, 0.05, 5)), 0.7


def coverage(draw, data_sets):
    random = np.random.default_rng(1)
    drawn = [draw(random) for _ in range(data_sets)]
    return np.mean([interval.low <= truth <= interval.high for interval, truth in drawn])


@pytest.mark.parametrize("draw", [pooled_interval, paired_difference, over_specimens, students])
def test_intervals_contain_the_truth_as_often_as_they_say(draw, monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 250)
    assert 0.92 <= coverage(draw, DATA_SETS) <= 0.98


def test_micrographs_of_one_specimen_are_not_independent(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 250)
    assert coverage(as_if_independent, 200) < 0.85


def test_the_same_as_scipys_own_bootstrap_for_many_micrographs():
    values = np.random.default_rng(0).beta(4, 1.5, 500)
    expected = bootstrap((values,), np.mean, n_resamples=5000, rng=np.random.default_rng(7)).confidence_interval
    interval = mean_interval(values)
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.002)
    assert interval == mean_interval(values)


def test_an_interval_in_words():
    assert str(Interval(0.5, 0.4, 0.61234)) == "0.5000 (95 % interval 0.4000 to 0.6123)"
    assert str(Interval(0.5, None, None)) == "0.5000"


def test_ratios_by_hand():
    assert ratio_interval([1, 2], [4, 2]).value == pytest.approx(3 / 6)
    assert ratio_difference(([1, 2], [4, 2]), ([1, 1], [1, 4])).value == pytest.approx(3 / 6 - 2 / 5)
    assert ratio_interval([0, 0, 0], [0, 0, 0]) == Interval(1.0, 1.0, 1.0)


def test_one_micrograph_or_one_group_gives_no_interval():
    assert mean_interval([0.4]) == Interval(0.4, None, None)
    assert mean_interval([0.4, 0.6], ["steel", "steel"]) == Interval(0.5, None, None)
    assert mean_interval([0.4]).bounds is None


def test_micrographs_without_a_group_are_groups_of_their_own():
    values = [0.1, 0.4, 0.5, 0.9]
    assert mean_interval(values, ["", "", "", ""]).value == mean_interval(values).value
    assert mean_interval(values, ["", "", "", ""]).low is not None


def test_equal_micrographs_fall_back_to_percentiles():
    assert mean_interval([0.5] * 10) == Interval(0.5, 0.5, 0.5)


def test_students_interval_by_hand():
    # Mean 2, deviation 1, t(0.975; 2) = 4.303: 2 -+ 4.303 / sqrt(3).
    interval = student_interval([1.0, 2.0, 3.0])
    assert (interval.value, interval.low, interval.high) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert student_interval([1.0]).bounds is None


def test_students_interval_ends_where_no_mean_can_be():
    # By hand: mean 0.8, deviation 0.2, t = 4.303; 0.8 -+ 0.497 reaches above 1.
    assert student_interval([0.6, 0.8, 1.0], 0, 1).bounds == pytest.approx((0.3032, 1), abs=1e-4)
    assert student_interval([0.4, 0.2, 0.0], 0, 1).bounds == pytest.approx((0, 0.6968), abs=1e-4)


def test_wilsons_interval_by_hand():
    # 8 of 10 (Wilson, Journal of the American Statistical Association 22:209, 1927).
    z = 1.959964
    centre = (0.8 + z**2 / 20) / (1 + z**2 / 10)
    half = z * math.sqrt(0.8 * 0.2 / 10 + z**2 / 400) / (1 + z**2 / 10)
    interval = wilson_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((centre - half, centre + half), abs=1e-5)
    assert wilson_interval(5, 5).high == pytest.approx(1)


def test_wilcoxon_by_hand():
    # Six differences of one sign: 2 / 2**6.
    assert wilcoxon_p([1, 2, 3, 4, 5, 6], [0] * 6) == pytest.approx(2 / 64)
    assert wilcoxon_p([0.5, 0.6], [0.5, 0.6]) is None
