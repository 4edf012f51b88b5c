"""Cross-validation: folds of the micrographs, each of which is the test set once."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from microseg.common.errors import InputError
from microseg.common.randomness import generator
from microseg.splits import TEST, SplitRow, draw_split

CLASSES = 4
"""Micrographs are shared out evenly by which quarter the number of their islands is in."""


@dataclass(frozen=True)
class Fold:
    """One of `count` folds; the first is number 0."""

    number: int
    count: int


def draw_fold(
    groups: Mapping[str, str],
    islands: Mapping[str, int],
    fold: Fold,
    *,
    sample_size: int | None,
    validation_size: int | float,
    seed: int,
) -> list[SplitRow]:
    """Split with one fold as the test set; training and validation are drawn from the other folds.

    Args:
        groups: each image's group, "" for none; whole groups are in one fold.
        islands: the number of islands of each image.
        fold: which fold is the test set. Every image is in exactly one of the folds of one seed.
        sample_size: as `draw_split` takes it.
        validation_size: as `draw_split` takes it.
        seed: the seed of params.yaml.

    Raises:
        InputError: there are fewer groups or micrographs than folds, or too few are left to train with.
    """
    test = _images_of_fold(groups, islands, fold, seed)
    rest = {image: group for image, group in groups.items() if image not in test}
    rows = draw_split(rest, test_size=0, sample_size=sample_size, validation_size=validation_size, seed=seed)
    rows += [SplitRow(image, TEST, groups[image]) for image in test]
    return sorted(rows, key=lambda row: row.image)


def _images_of_fold(groups: Mapping[str, str], islands: Mapping[str, int], fold: Fold, seed: int) -> set[str]:
    from sklearn.model_selection import StratifiedGroupKFold  # a second to import

    images = sorted(groups)
    units = [groups[image] or f"\0{image}" for image in images]
    if len(set(units)) < fold.count:
        raise InputError(
            f"split.folds asks for {fold.count} folds, but there are {len(set(units))} groups or micrographs; "
            "lower it"
        )
    numbers = np.array([islands[image] for image in images])
    classes = np.searchsorted(np.quantile(numbers, np.arange(1, CLASSES) / CLASSES), numbers, side="left")
    random_state = int(generator(seed, "folds").integers(2**31))
    splitter = StratifiedGroupKFold(fold.count, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        # With fewer micrographs in a class than folds some folds have none of it: that is as even as it gets.
        warnings.simplefilter("ignore", UserWarning)
        parts = list(splitter.split(images, classes, units))
    chosen = [images[place] for place in parts[fold.number][1]]
    if not chosen:
        raise InputError(f"split.folds: fold {fold.number} of {fold.count} has no micrograph; lower the number")
    return set(chosen)
