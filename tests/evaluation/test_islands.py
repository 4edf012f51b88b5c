"""Islands found, missed and invented: cases worked out by hand, and an assignment by other means."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from skimage.measure import label

from microseg.evaluation.islands import (
    AnnotatedIsland,
    MatchedIslands,
    match_islands,
    pool,
    unmatched_islands,
)
from microseg.evaluation.scores import Scores


def mask(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def test_found_missed_and_invented_by_hand():
    truth = mask("##..#", "##...", ".....", "#..#.")
    predicted = mask("##...", "#....", "...#.", "...#.")
    # Top left: 3 of 4 pixels. Bottom right: 1 of 2, not above a half. Two more are missed, one is invented.
    matched = match_islands(truth, predicted)
    assert matched.annotated == (
        AnnotatedIsland(4, 0, 0.75),
        AnnotatedIsland(1, 0, 0.0),
        AnnotatedIsland(1, 0, 0.0),
        AnnotatedIsland(1, 0, 0.0),
    )
    counts = matched.counts()
    assert counts == Scores(true_positives=1, false_positives=1, false_negatives=3)
    assert (counts.precision, counts.recall) == (1 / 2, 1 / 4)
    assert counts.dice == pytest.approx(2 / 6)
    assert matched.segmentation_quality == 0.75


def test_islands_without_a_partner_are_listed_with_kind_size_and_place_by_hand():
    truth = mask("##..#", "##...", ".....", "#..#.")
    predicted = mask("##...", "#....", "...#.", "...#.")
    unmatched = unmatched_islands(truth, predicted)
    assert [(one.kind, one.area, one.place) for one in unmatched] == [
        ("missed", 1, (slice(0, 1), slice(4, 5))),
        ("missed", 1, (slice(3, 4), slice(0, 1))),
        ("missed", 1, (slice(3, 4), slice(3, 4))),
        ("invented", 2, (slice(2, 4), slice(3, 4))),
    ]
    assert all(one.pixels.sum() == one.area for one in unmatched)
    assert unmatched_islands(truth, truth) == []


def test_an_island_covered_by_half_is_not_found():
    assert match_islands(mask("##.."), mask("#...")).counts().true_positives == 0
    assert match_islands(mask("###."), mask("##..")).counts().true_positives == 1


def test_thresholds_count_the_islands_covered_better_than_that():
    # One island of 10 pixels with 8 predicted: found up to 0.75, lost from 0.8 on, six thresholds of ten.
    matched = match_islands(mask("##########"), mask("########.."))
    assert [matched.counts(threshold).true_positives for threshold in (0.5, 0.75, 0.8, 0.95)] == [1, 1, 0, 0]
    assert matched.mean_f1 == pytest.approx(0.6)


def test_islands_that_touch_are_one():
    # Two annotated islands meet at a corner: one island of two pixels, and one predicted pixel is half of it.
    matched = match_islands(mask("#..", ".#.", "..."), mask("#..", "...", "..."))
    assert matched.annotated == (AnnotatedIsland(2, 0, 0.0),)
    # A bridge between two islands makes one predicted island, which covers neither by more than half.
    bridged = match_islands(mask("##...##"), mask("#######"))
    assert bridged.counts() == Scores(0, 1, 2)


def test_distance_from_the_border():
    matched = match_islands(mask("......", "......", "..#...", "......", "......"), mask(*["......"] * 5))
    assert [island.border_distance for island in matched.annotated] == [2]
    for cut in (mask("#....", "....."), mask(".....", "....#")):
        assert match_islands(cut, cut).annotated == (AnnotatedIsland(1, 0, 1.0),)


@pytest.mark.parametrize(
    ("truth", "prediction", "quality"), [("....", "....", 1.0), ("#...", "....", 0.0), ("....", "#..#", 0.0)]
)
def test_empty_masks(truth, prediction, quality):
    matched = match_islands(mask(truth), mask(prediction))
    assert (matched.segmentation_quality, matched.counts().dice, matched.mean_f1) == (quality,) * 3


def test_islands_of_several_micrographs_are_pooled():
    first = MatchedIslands((AnnotatedIsland(9, 0, 0.8),), 3)
    second = MatchedIslands((AnnotatedIsland(9, 5, 0.6), AnnotatedIsland(4, 1, 0.0)), 1)
    together = pool([first, second])
    assert together.counts() == Scores(2, 2, 1)
    assert together.segmentation_quality == pytest.approx(0.7)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_best_assignment_of_all_islands(seed):
    random = np.random.default_rng(seed)
    blocks = np.ones((8, 8), dtype=int)
    truth = np.kron(random.random((12, 16)) < 0.2, blocks) > 0
    # Everything a pixel further, with some blocks added and some taken away.
    prediction = np.roll(truth, 1, axis=1) ^ (np.kron(random.random((12, 16)) < 0.1, blocks) > 0)
    annotated, predicted = label(truth, connectivity=2), label(prediction, connectivity=2)
    iou = np.array(
        [
            [
                np.sum((annotated == a) & (predicted == p)) / np.sum((annotated == a) | (predicted == p))
                for p in range(1, predicted.max() + 1)
            ]
            for a in range(1, annotated.max() + 1)
        ]
    )
    rows, columns = linear_sum_assignment(iou, maximize=True)
    expected = np.sort([iou[pair] for pair in zip(rows, columns, strict=True) if iou[pair] > 0.5])
    matched = match_islands(truth, prediction)
    assert np.sort([island.iou for island in matched.annotated if island.iou]) == pytest.approx(expected)
    assert len(matched.annotated) == annotated.max()
    assert matched.predicted == predicted.max()
    assert expected.size > 0
