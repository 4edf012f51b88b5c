"""The error of the model on one's own material, from the few fields of a specimen that were corrected.

All n fields have a prediction, and m of them, drawn at random, also a corrected mask. The mean prediction of all
fields plus the mean correction of the m fields is an unbiased estimate, however wrong the model is. It is the
difference estimator under double sampling (Cochran, Sampling Techniques, 3rd ed., 1977, chapter 12, with a
regression coefficient of 1), and the estimator of prediction-powered inference (Angelopoulos et al., Science
382:669, 2023). Its variance has two stages: fields are a sample of the specimen, and corrections are a sample of
the fields. The second one vanishes when all fields are corrected. In simulations
(benchmarks/coverage_of_corrections.py) the intervals contain the true value in 93 to 97 of 100 cases.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from microseg.evaluation.intervals import (
    CONFIDENCE,
    FEWEST_UNITS,
    FRACTION,
    Bounds,
    Values,
    combined_error,
    standard_error,
    student_interval,
)


@dataclass(frozen=True)
class DifferenceEstimate:
    """A corrected mean with its 95 % interval.

    Attributes:
        value: the corrected mean, in the unit of the predictions.
        low: the lower end of the interval.
        high: its upper end.
        corrections_to_halve: how many more of the fields would have to be corrected for an interval of half the
            width; None where all of them would not be enough, and more fields are needed.
    """

    value: float
    low: float
    high: float
    corrections_to_halve: int | None


def difference_estimate(
    predicted: ArrayLike, differences: ArrayLike, *, areas: ArrayLike | None = None, bounds: Bounds = FRACTION
) -> DifferenceEstimate | None:
    """Correct the mean prediction of all fields by the mean difference of those that were corrected.

    Args:
        predicted: the quantity of each field by its predicted mask, (n,).
        differences: corrected minus predicted, (n,), NaN in fields that were not corrected. Those that were must
            be a random sample of the fields: corrections of the worst ones say nothing of the others.
        areas: what each field counts, (n,), above 0; None for the same for all.
        bounds: between which the quantity lies, FRACTION, or NOT_NEGATIVE for a number per area.

    Returns:
        None where there is no honest interval: fewer than three corrections, or corrections that do not differ at
        all, which says nothing of how much others would.
    """
    prediction, difference = np.asarray(predicted, np.float64), np.asarray(differences, np.float64)
    area = np.ones_like(prediction) if areas is None else np.asarray(areas, np.float64)
    known = ~np.isnan(difference)
    corrected = int(known.sum())
    if corrected < FEWEST_UNITS or np.ptp(difference[known]) == 0:
        return None
    value = np.average(prediction, weights=area) + np.average(difference[known], weights=area[known])
    found = _error(prediction, difference, area, corrected)
    if found is None:
        return None
    interval, half = student_interval(float(value), *found, bounds), _half_width(found) / 2
    counts = range(corrected, len(area) + 1)
    more = bisect_left(counts, -half, key=lambda count: -_half_width(_error(prediction, difference, area, count)))
    return DifferenceEstimate(
        float(np.clip(value, *bounds)), interval.low, interval.high, more if more < len(counts) else None
    )


def _error(prediction: Values, difference: Values, area: Values, count: int) -> tuple[float, float] | None:
    """Return the standard error with `count` corrections and its degrees of freedom; None where nothing differs.

    With f = count / n, the estimate is 1 - f times the mean prediction of the fields that were not corrected, plus
    the mean of f prediction + correction in those that were. These are independent samples of the specimen, and
    their variances add up to that of both stages, covariance of predictions and corrections included. A `count`
    above the number of corrections stands for more of the same kind.
    """
    known, fraction = ~np.isnan(difference), count / len(area)
    weights = area[known]
    corrected = standard_error(np.stack([weights * (fraction * prediction + difference)[known], weights]))
    if corrected is None:
        return None
    more = count / len(weights)
    _, error, freedom = standard_error(np.stack([area * prediction, area])) or (0.0, 0.0, 1.0)
    return combined_error(
        (error * math.sqrt(1 - fraction), freedom), (corrected[1] / math.sqrt(more), more * (corrected[2] + 1) - 1)
    )


def _half_width(found: tuple[float, float] | None) -> float:
    """Return half the width of the interval without bounds, infinite where there is none."""
    return math.inf if found is None else float(stdtrit(found[1], (1 + CONFIDENCE) / 2)) * found[0]
