"""Calibration: whether predicted probabilities are right, and the temperature and threshold fitted on validation.

Pixels are counted in bins, so that memory does not grow with the number of micrographs.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CLASSES = 15
"""Classes of equal width that probabilities from 0 to 1 are counted in."""

FARTHEST_LOGIT, LOGIT_STEP = 20.0, 0.02
LOGITS = np.arange(-FARTHEST_LOGIT, FARTHEST_LOGIT + LOGIT_STEP / 2, LOGIT_STEP).round(2)
"""The logits that pixels are counted at, each at the nearest; farther ones at the ends."""
TEMPERATURES = (0.05, 20.0)

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def reliability(truth: NDArray[np.bool_], logits: NDArray[np.floating]) -> Values:
    """Count the pixels of one micrograph by their probability, the sigmoid of their logit.

    Returns:
        (3, CLASSES): how many pixels are in each class, how many of these are annotated foreground, and the sum of
        their probabilities. Those of several micrographs are added up.
    """
    probabilities = 1 / (1 + np.exp(-np.asarray(logits, np.float64).ravel()))
    classes = np.minimum((probabilities * CLASSES).astype(np.int64), CLASSES - 1)
    weights = (None, truth.ravel(), probabilities)
    return np.stack([np.bincount(classes, one, CLASSES).astype(np.float64) for one in weights])


def expected_calibration_error(counts: Values) -> float:
    """Return the mean difference of probability and fraction of foreground over the pixels counted; 0 to 1.

    After Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    pixels, foreground, probabilities = counts
    return float(np.abs(foreground - probabilities).sum() / pixels.sum())


RELIABILITY_HEADER = ("probability", "share_of_foreground", "pixels")


def reliability_table(counts: Values) -> Iterator[tuple[float, float, int]]:
    """Yield a row of RELIABILITY_HEADER for each class that has pixels; the probability is their mean."""
    for pixels, foreground, probabilities in counts.T.tolist():
        if pixels:
            yield probabilities / pixels, foreground / pixels, int(pixels)


def count_logits(truth: NDArray[np.bool_], logits: NDArray[np.floating]) -> Counts:
    """Count the pixels of one micrograph at LOGITS: (2, logits), background and foreground."""
    places = np.rint((np.asarray(logits, np.float32).ravel() + FARTHEST_LOGIT) / LOGIT_STEP)
    places = np.clip(places, 0, LOGITS.size - 1).astype(np.int64)
    places += LOGITS.size * truth.ravel()
    return np.bincount(places, minlength=2 * LOGITS.size).reshape(2, LOGITS.size)


def fit_temperature(counts: Counts) -> float:
    """Return the number by which to divide logits so that the likelihood is highest (temperature scaling).

    After Guo et al., On Calibration of Modern Neural Networks, ICML 2017. It is within TEMPERATURES, and 1 where
    there is only foreground or only background.

    Args:
        counts: the sum of `count_logits` over the validation micrographs.
    """
    from scipy.optimize import minimize_scalar

    background, foreground = counts
    if not background.any() or not foreground.any():
        return 1.0

    def unlikelihood(log_temperature: float) -> float:
        logits = LOGITS / math.exp(log_temperature)
        return float(foreground @ np.logaddexp(0, -logits) + background @ np.logaddexp(0, logits))

    lowest, highest = (math.log(limit) for limit in TEMPERATURES)
    return math.exp(float(minimize_scalar(unlikelihood, bounds=(lowest, highest), method="bounded").x))


def iou_above(counts: Counts) -> Values:
    """Return the IoU of one micrograph with the foreground above each of LOGITS, exclusive; (logits,)."""
    background, foreground = (side[::-1].cumsum()[::-1] - side for side in counts)
    union = counts[1].sum() + background
    return np.asarray(np.where(union > 0, foreground / np.maximum(union, 1), 1.0))


def best_logit(mean_iou: Values) -> float:
    """Return the logit above which foreground gives the highest mean of the curves that `iou_above` returns.

    Of several that are equally good, the one nearest to 0, a probability of one half.
    """
    best = LOGITS[mean_iou >= mean_iou.max() - 1e-12]
    return float(best[np.abs(best).argmin()])
