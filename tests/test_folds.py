"""Folds: every micrograph is in one test set, groups stay together, the rest is for training and validation."""

from collections import Counter
from functools import partial

import pytest

from microseg.common.errors import InputError
from microseg.common.params_file import read_params
from microseg.splits import TEST, TRAIN, VALIDATION, Fold, draw_beside, draw_split, images_of, images_of_fold

from pipeline_files import ROOT

IMAGES = [f"IMG_{number:05d}.png" for number in range(23)]
ALONE = dict.fromkeys(IMAGES, "")
ISLANDS = {image: number % 7 for number, image in enumerate(IMAGES)}


def draw_fold(groups, islands, fold, seed, validation_size=0.25):
    draw = partial(draw_split, sample_size=None, validation_size=validation_size, seed=seed)
    return draw_beside(images_of_fold(groups, islands, fold, seed), groups, draw)


def splits(groups=ALONE, folds=5, seed=1):
    return [draw_fold(groups, ISLANDS, Fold(number, folds), seed) for number in range(folds)]


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


def fold_of(groups, islands, folds, seed):
    drawn = [draw_fold(groups, islands, Fold(number, folds), seed, validation_size=0.2) for number in range(folds)]
    tested = [(image, number) for number, rows in enumerate(drawn) for image in images_of(rows, TEST)]
    assert sorted(image for image, _ in tested) == sorted(groups)
    return dict(tested)


@pytest.mark.parametrize(
    ("count", "folds"), [*((count, 5) for count in range(5, 16)), *((count, 10) for count in (10, 21, 33))]
)
def test_few_micrographs_are_dealt_evenly(count: int, folds: int):
    images = [f"{number}.png" for number in range(count)]
    # All have different numbers of islands.
    fold = fold_of(
        dict.fromkeys(images, ""), {image: number for number, image in enumerate(images)}, folds, seed=1
    )
    sizes = Counter(fold.values())
    assert set(sizes) == set(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1


@pytest.mark.parametrize("count", [3, 4, 7, 23])
def test_leave_one_out_with_any_number_of_micrographs(count: int):
    images = [f"{number}.png" for number in range(count)]
    fold = fold_of(dict.fromkeys(images, ""), dict.fromkeys(images, 5), count, seed=3)
    assert sorted(fold.values()) == list(range(count))


def test_groups_are_dealt_evenly_and_differently_by_each_seed():
    # The groups of the published data: 1,768 micrographs, of which a fifth is 354.
    sizes = (247, 213, 190, 188, 172, 143, 141, 139, 97, 94, 87, 40, 14, 3)
    groups = {f"{group}_{number}": f"steel {group}" for group, size in enumerate(sizes) for number in range(size)}
    islands = {image: 3 + number % 5 for number, image in enumerate(groups)}
    partitions = set()
    for seed in range(8):
        fold = fold_of(groups, islands, 5, seed)
        tested = Counter(fold.values())
        assert 330 <= min(tested.values()) <= max(tested.values()) <= 390
        found = [sum(islands[image] for image, own in fold.items() if own == number) for number in range(5)]
        assert max(found) < 1.2 * min(found)
        partitions.add(frozenset(frozenset(image for image in fold if fold[image] == one) for one in range(5)))
    assert len(partitions) >= 4


def test_folds_that_leave_nothing_to_validate_on_are_refused():
    images = ["a.png", "b.png", "c.png"]
    with pytest.raises(InputError, match="of 2 leaves one group or micrograph for training and validation"):
        fold_of(dict.fromkeys(images, ""), dict.fromkeys(images, 5), 2, seed=1)


def test_more_folds_than_groups_are_refused():
    groups = {image: f"steel {number % 3}" for number, image in enumerate(IMAGES)}
    with pytest.raises(InputError, match="4 folds, but there are 3 groups"):
        splits(groups, folds=4)


def test_a_fold_that_does_not_exist_is_refused_with_the_parameters():
    with pytest.raises(InputError, match="fold is 5, but of 5 folds the last one is 4"):
        read_params(ROOT / "params.yaml", {"split.folds": 5, "split.fold": 5})
