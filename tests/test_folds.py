"""Folds: every micrograph is in one test set, groups stay together, the rest is for training and validation."""

import pytest

from microseg.common.errors import InputError
from microseg.common.params import read_params
from microseg.splits import TEST, TRAIN, VALIDATION, Fold, draw_fold, images_of

from pipeline_files import ROOT

IMAGES = [f"IMG_{number:05d}.png" for number in range(23)]
ALONE = dict.fromkeys(IMAGES, "")
ISLANDS = {image: number % 7 for number, image in enumerate(IMAGES)}


def splits(groups=ALONE, folds=5, seed=1):
    draw = {"sample_size": None, "validation_size": 0.25, "seed": seed}
    return [draw_fold(groups, ISLANDS, Fold(number, folds), **draw) for number in range(folds)]


def test_every_micrograph_is_tested_once_and_otherwise_used_for_training_or_validation():
    rows = splits()
    tested = [image for one in rows for image in images_of(one, TEST)]
    assert sorted(tested) == IMAGES
    for one in rows:
        assert sorted(row.image for row in one) == IMAGES
        assert len(images_of(one, TRAIN)) > len(images_of(one, VALIDATION)) > 0
        assert 4 <= len(images_of(one, TEST)) <= 5


def test_folds_depend_only_on_the_seed():
    assert splits() == splits()
    assert splits() == splits(dict(reversed(ALONE.items())))
    assert splits() != splits(seed=2)


def test_groups_stay_in_one_split():
    groups = {image: f"steel {number % 8}" for number, image in enumerate(IMAGES)}
    for rows in splits(groups, folds=3):
        splits_of_group = {}
        for row in rows:
            assert row.group == groups[row.image]
            splits_of_group.setdefault(row.group, set()).add(row.split)
        assert all(len(names) == 1 for names in splits_of_group.values())


def test_micrographs_with_many_and_few_islands_are_in_every_fold():
    means = [
        sum(ISLANDS[image] for image in images_of(rows, TEST)) / len(images_of(rows, TEST)) for rows in splits()
    ]
    assert max(means) - min(means) < 2  # of 0 to 6 islands, mean 3


def test_more_folds_than_groups_are_refused():
    groups = {image: f"steel {number % 3}" for number, image in enumerate(IMAGES)}
    with pytest.raises(InputError, match="4 folds, but there are 3 groups"):
        splits(groups, folds=4)


def test_a_fold_that_does_not_exist_is_refused_with_the_parameters():
    with pytest.raises(InputError, match="fold is 5, but of 5 folds the last one is 4"):
        read_params(ROOT / "params.yaml", {"split.folds": 5, "split.fold": 5})
