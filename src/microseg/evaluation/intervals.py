"""What a score is worth: 95 % intervals over micrographs, and paired differences between masks of the same ones.

Every score here is a ratio of sums over micrographs: the mean IoU is the sum of their IoU by their number, the
pooled IoU the sum of their true positives by that of their unions. The bootstrap draws micrographs, or whole
groups of them where those of one group resemble each other, and forms the ratio anew.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0
"""The same numbers give the same interval."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; `low` and `high` are None where too few micrographs or groups give none."""

    value: float
    low: float | None
    high: float | None

    @property
    def bounds(self) -> list[float] | None:
        """The interval as a metrics file has it: [low, high]."""
        return None if self.low is None or self.high is None else [self.low, self.high]

    def __str__(self) -> str:
        """Return the value with its interval, such as "0.7359 (95 % interval 0.6312 to 0.8121)"."""
        value = f"{self.value:.4f}"
        return value if self.bounds is None else f"{value} (95 % interval {self.low:.4f} to {self.high:.4f})"


def mean_interval(values: ArrayLike, groups: Sequence[str] | None = None) -> Interval:
    """Return the mean over micrographs and its bootstrap interval; see `ratio_interval`."""
    listed = np.asarray(values, dtype=np.float64)
    return ratio_interval(listed, np.ones_like(listed), groups)


def ratio_interval(above: ArrayLike, below: ArrayLike, groups: Sequence[str] | None = None) -> Interval:
    """Return sum(above) / sum(below) over at least one micrograph and its bootstrap interval.

    The interval is bias-corrected and accelerated (Efron, Journal of the American Statistical Association 82:171,
    1987), or made of plain percentiles where that is not defined, as for micrographs that are all the same. What a
    bootstrap of few micrographs or groups lacks in width is added as Hesterberg has it (The American Statistician
    69:371, 2015).

    Args:
        above: a number for each micrograph, such as its true positives.
        below: a number for each micrograph, such as the union of both masks; where all are 0, nothing was
            annotated and nothing predicted, and the ratio is 1.
        groups: the group of each micrograph, "" where it belongs to none; None for no groups.
    """
    return _interval(np.stack([np.asarray(above, np.float64), np.asarray(below, np.float64)]), groups)


def ratio_difference(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], groups: Sequence[str] | None = None
) -> Interval:
    """Return the first ratio minus the second one on the same micrographs; each as `ratio_interval` takes it."""
    return _interval(np.stack([np.asarray(values, np.float64) for values in (*first, *second)]), groups)


def wilcoxon_p(first: ArrayLike, second: ArrayLike) -> float | None:
    """Return the p-value of Wilcoxon's signed-rank test of paired values; None where no pair differs.

    The test takes the micrographs as independent; groups it does not know.
    """
    from scipy.stats import wilcoxon

    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return float(wilcoxon(difference).pvalue) if difference.any() else None


def student_interval(values: ArrayLike, lowest: float = -math.inf, highest: float = math.inf) -> Interval:
    """Return the mean of independent values and Student's 95 % interval of it; no interval of a single one.

    The interval is cut at the `lowest` and `highest` mean that there can be.
    """
    from scipy.stats import t

    listed = np.asarray(values, dtype=np.float64)
    mean, count = float(listed.mean()), listed.size
    if count < 2:
        return Interval(mean, None, None)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * float(listed.std(ddof=1)) / math.sqrt(count)
    return Interval(mean, max(lowest, mean - half), min(highest, mean + half))


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return the fraction of successes with Wilson's 95 % interval, which takes the trials as independent."""
    from scipy.stats import binomtest

    bounds = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / trials, float(bounds.low), float(bounds.high))


def _interval(columns: Values, groups: Sequence[str] | None) -> Interval:
    """Bootstrap the ratio of two columns, or the difference of the ratios of four, (columns, micrographs)."""
    from scipy.stats import bootstrap

    sums = _sum_of_groups(columns, groups)
    value = float(_ratio_of_sums(*sums, axis=-1))
    if sums.shape[1] < 2:
        return Interval(value, None, None)
    bounds = (math.nan, math.nan)
    with warnings.catch_warnings():
        # Where the corrected interval is not defined SciPy warns and returns NaN: the percentiles take its place.
        warnings.simplefilter("ignore")
        for method in ("BCa", "percentile"):
            if not np.isfinite(bounds).all():
                found = bootstrap(
                    tuple(sums),
                    _ratio_of_sums,
                    paired=True,
                    vectorized=True,
                    n_resamples=RESAMPLES,
                    confidence_level=_widened(sums.shape[1]),
                    method=method,
                    rng=np.random.default_rng(SEED),
                ).confidence_interval
                bounds = (float(found.low), float(found.high))
    return Interval(value, *bounds)


def _widened(count: int) -> float:
    """Return the confidence at which the bootstrap of so few is as wide as Student's t makes a normal interval."""
    from scipy.stats import norm, t

    tail = norm.cdf(math.sqrt(count / (count - 1)) * t.ppf((1 - CONFIDENCE) / 2, count - 1))
    return float(1 - 2 * tail)


def _sum_of_groups(columns: Values, groups: Sequence[str] | None) -> Values:
    if groups is None:
        return columns
    # A micrograph without a group is a group of its own.
    names = [group or f"\0{number}" for number, group in enumerate(groups)]
    _, places = np.unique(names, return_inverse=True)
    return np.stack([np.bincount(places, column) for column in columns])


def _ratio_of_sums(*columns: Values, axis: int) -> Values:
    above, below = np.sum(columns[0], axis=axis), np.sum(columns[1], axis=axis)
    ratio: Values = np.where(below == 0, 1.0, above / np.where(below == 0, 1.0, below))
    return ratio - _ratio_of_sums(*columns[2:], axis=axis) if columns[2:] else ratio
