"""Probabilities and how true they are: against scikit-learn, by hand, and on logits made wrong on purpose."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import jaccard_score

from microseg.evaluation.calibration import (
    CLASSES,
    LOGITS,
    best_logit,
    count_logits,
    expected_calibration_error,
    fit_temperature,
    iou_above,
    reliability,
)


def drawn(temperature=1.0, size=(200, 300), seed=0):
    """Logits, and a truth that is as likely as they say; then the logits made too bold by `temperature`."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 2, size)
    return random.random(size) < expit(logits), logits * temperature


def test_reliability_agrees_with_scikit_learn():
    truth, logits = drawn()
    pixels, foreground, probabilities = reliability(truth, logits)
    shares, means = calibration_curve(truth.ravel(), expit(logits).ravel(), n_bins=CLASSES)
    assert foreground / pixels == pytest.approx(shares)
    assert probabilities / pixels == pytest.approx(means)
    assert pixels.sum() == truth.size


def test_the_error_by_hand():
    # Two pixels at probability 0.5, one of them foreground; one at about 1 that is background: off by 1.
    truth, logits = np.array([[True, False, False]]), np.array([[0.0, 0.0, 100.0]])
    assert expected_calibration_error(reliability(truth, logits)) == pytest.approx(1 / 3)


def test_true_probabilities_have_hardly_an_error_and_bold_ones_have():
    assert expected_calibration_error(reliability(*drawn())) < 0.01
    assert expected_calibration_error(reliability(*drawn(3.0))) > 0.05


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoilt_the_logits_is_found_and_mends_them(temperature):
    truth, logits = drawn(temperature)
    found = fit_temperature(count_logits(truth, logits))
    assert found == pytest.approx(temperature, rel=0.03)
    assert expected_calibration_error(reliability(truth, logits / found)) < 0.01


@pytest.mark.parametrize("value", [True, False])
def test_without_foreground_or_background_there_is_nothing_to_fit(value):
    assert fit_temperature(count_logits(np.full((4, 4), value), np.zeros((4, 4)))) == 1.0


def test_iou_above_a_logit_agrees_with_scikit_learn():
    truth, logits = drawn(size=(40, 50))
    curve = iou_above(count_logits(truth, logits))
    for place in (700, 1000, 1100):
        # Pixels are counted at the nearest logit: those above are half a step higher.
        expected = jaccard_score(truth.ravel(), (logits > LOGITS[place] + 0.01).ravel())
        assert curve[place] == pytest.approx(expected, abs=1e-9)


def test_the_best_logit_separates_what_can_be_separated():
    truth = np.array([[True, True, False, False]])
    curve = iou_above(count_logits(truth, np.array([[3.0, 2.0, 1.0, -1.0]])))
    assert best_logit(curve) == pytest.approx(1.0)
    assert curve.max() == 1
    # Above or below, an empty micrograph is right only without foreground: the mean of both curves decides.
    empty = iou_above(count_logits(np.zeros((1, 4), dtype=bool), np.array([[1.5, 0.0, 0.0, 0.0]])))
    assert best_logit((curve + empty) / 2) == pytest.approx(1.5)


def test_logits_beyond_the_ends_are_counted_at_the_ends():
    counts = count_logits(np.array([[True, False]]), np.array([[500.0, -500.0]]))
    assert counts[1, -1] == 1
    assert counts[0, 0] == 1
