"""The drop of the mean IoU on perturbed micrographs, by hand, with intervals over micrographs or groups."""

import numpy as np
import pytest
from scipy import stats

from microseg.evaluation.figures import plot_robustness
from microseg.evaluation.robustness import ROBUSTNESS_HEADER, Robustness

PLAIN = np.array([0.9, 0.8, 0.7, 0.8])
BLUR, NOISE = np.array([0.8, 0.6, 0.6, 0.8]), np.array([0.9, 0.9, 0.7, 0.8])
MEASURED = Robustness("validation", ("",) * 4, PLAIN, {"blur": BLUR, "noise": NOISE})


def test_one_number_and_the_worst_perturbation() -> None:
    metrics = MEASURED.metrics()
    low, high = metrics.pop("iou_drop_interval95")
    assert metrics == {
        "split": "validation",
        "images": 4,
        "mean_iou": pytest.approx(0.8),
        "perturbed_mean_iou": pytest.approx((0.7 + 0.825) / 2),
        "iou_drop": pytest.approx((0.1 - 0.025) / 2),
        "worst_perturbation": "blur",
        "worst_iou_drop": pytest.approx(0.1),
    }
    # The differences of the micrographs are paired: Student's interval, but for the bounds of an IoU.
    expected = stats.ttest_1samp(PLAIN - (BLUR + NOISE) / 2, 0).confidence_interval()
    assert (low, high) == pytest.approx(tuple(expected), abs=0.005)
    assert "blur, 0.1000" in str(MEASURED)


def test_a_row_for_each_perturbation_after_the_plain_micrographs() -> None:
    plain, blur, noise = (dict(zip(ROBUSTNESS_HEADER, row, strict=True)) for row in MEASURED.table())
    assert plain == {
        "perturbation": "none",
        "mean_iou": pytest.approx(0.8),
        "iou_drop": 0.0,
        "low": "",
        "high": "",
    }
    assert (blur["mean_iou"], blur["iou_drop"]) == (pytest.approx(0.7), pytest.approx(0.1))
    assert blur["low"] < 0.1 < blur["high"]
    assert noise["iou_drop"] == pytest.approx(-0.025)


def test_no_interval_of_two_groups() -> None:
    grouped = Robustness("test", ("a", "a", "b", "b"), PLAIN, {"blur": BLUR})
    assert "iou_drop_interval95" not in grouped.metrics()
    assert [row[3:] for row in grouped.table()] == [("", ""), ("", "")]


def test_the_figure_has_a_bar_for_each_perturbation() -> None:
    axes = plot_robustness(MEASURED).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["blur", "noise"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.1, -0.025])
