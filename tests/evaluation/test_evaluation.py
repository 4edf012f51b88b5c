"""IoU and its relatives against counts worked out by hand, the edge cases of empty masks, and their summary."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from microseg.evaluation.scores import (
    Scores,
    border_distance,
    calculate_iou,
    digest,
    rank_correlation,
    score,
)
from microseg.micrographs.images import write_mask


def mask(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


TRUTH = mask("##..", "##..", "....")
PREDICTION = mask(".##.", ".##.", "...#")


def test_counts_by_hand():
    assert score(TRUTH, PREDICTION) == Scores(true_positives=2, false_positives=3, false_negatives=2)
    assert calculate_iou(TRUTH, PREDICTION) == pytest.approx(2 / 7)


def test_agrees_with_scikit_learn():
    random = np.random.default_rng(0)
    truth, prediction = random.random((2, 40, 50)) > 0.6
    scores = score(truth, prediction)
    flat = truth.ravel(), prediction.ravel()
    assert scores.iou == pytest.approx(jaccard_score(*flat))
    assert scores.dice == pytest.approx(f1_score(*flat))
    assert scores.precision == pytest.approx(precision_score(*flat))
    assert scores.recall == pytest.approx(recall_score(*flat))


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        ("....", "....", 1.0),
        ("#...", "....", 0.0),
        ("....", "#...", 0.0),
        ("#...", "...#", 0.0),
        ("##..", "##..", 1.0),
    ],
)
def test_empty_masks(truth, prediction, expected):
    scores = score(mask(truth), mask(prediction))
    assert (scores.iou, scores.dice, scores.precision, scores.recall) == (expected,) * 4


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        calculate_iou(np.zeros((3, 4), bool), np.zeros((4, 3), bool))


def test_border_distance_by_hand():
    assert border_distance(mask("#....", ".....", ".....")) == 0
    assert border_distance(mask(".....", "..#..", ".....")) == 1
    assert border_distance(mask("#....", "..#..", ".....")) == 0.5
    assert math.isnan(border_distance(np.zeros((3, 3), bool)))


def test_rank_correlation_by_hand():
    assert rank_correlation([1, 2, 3, math.nan], [10, 20, 90, 0]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1], [3, 2, 1]) is None
    assert rank_correlation([1, 2], [3, 2]) is None


def test_digest_changes_with_the_truth(tmp_path):
    write_mask(tmp_path / "a.png", TRUTH)
    before = digest(["a.png"], tmp_path)
    assert before == digest(["a.png"], tmp_path)
    write_mask(tmp_path / "a.png", PREDICTION)
    assert digest(["a.png"], tmp_path) != before
