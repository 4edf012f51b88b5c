"""Which micrographs train the network, which validate it, and which test it; folds of a cross-validation.

The draws are our own: scikit-learn's GroupShuffleSplit counts groups, not images, and has no nested samples.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from microseg.common.errors import InputError
from microseg.common.files import output_file
from microseg.common.randomness import generator

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PART_NAMES = {"train": TRAIN, "training": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST}
"""How a column of somebody else's table may call the three parts."""


@dataclass(frozen=True)
class SplitRow:
    """One micrograph's place: its `split` is train, validation or test; `group` is empty where none were asked."""

    image: str
    split: str
    group: str


COLUMNS = ("image", "split", "group")


@dataclass(frozen=True)
class _Parts:
    """All images, each in one part, in the random order in which samples take them."""

    train: list[str]
    validation: list[str]
    test: list[str]


def draw_split(
    groups: Mapping[str, str],
    *,
    test_size: int | float,
    sample_size: int | None,
    validation_size: int | float,
    seed: int,
) -> list[SplitRow]:
    """Draw the test set first, then a sample of the rest, of which a part is set aside for validation.

    The test set depends on nothing but the images, `test_size` and `seed`. Samples are nested, and so are their
    training and validation parts: those of 100 micrographs are among those of 500. Where `validation_size` is a
    number, samples of any size have the same validation micrographs.

    Args:
        groups: each image's group. Where they differ, whole groups stay together and are chosen so that
            the number of images, not of groups, comes nearest to what was asked for; images of one group, or of
            the group "" (none), are drawn one by one.
        test_size: a share of the images (rounded up) or their number; 0 for no test set.
        sample_size: number of micrographs for training and validation together; None for all that are left.
        validation_size: what of the sample is for validation: a share of it, above 0 and below 1 (rounded up), or
            a number of micrographs, >= 1. Whole groups come as near to it as they can.
        seed: the seed of params.yaml.

    Raises:
        InputError: there are fewer micrographs or groups than asked for, or none would be left to train with.
    """
    images = [str(name) for name in generator(seed, "split").permutation(sorted(groups))]
    units = _units(images, groups)
    test_count = _count(test_size, len(images))
    _check_test_count(test_count, len(images), len(units))
    test, rest = _choose(units, test_count, leave=2) if test_count else ([], units)
    available = sum(map(len, rest))
    sample = _sample_size(sample_size, available, len(images) - available)
    if isinstance(validation_size, int) and validation_size >= sample:
        raise InputError(
            f"split.validation_size asks for {validation_size} of the {sample} micrographs of the sample, which "
            "leaves none to train with; lower it"
        )
    validation, train = _choose(rest, _count(validation_size, available), leave=1)
    parts = _Parts(_in_order(images, train), _in_order(images, validation), _in_order(images, test))
    return _rows(parts, groups, sample, validation_size)


def _check_test_count(test_count: int, images: int, groups: int) -> None:
    """Raise InputError where so many test micrographs leave too few to train and validate with."""
    if test_count + 2 > images:
        raise InputError(
            f"split.test_size asks for {test_count} micrographs and training needs two more, but there are "
            f"{images}; lower it"
        )
    parts_needed = 3 if test_count else 2
    if groups < parts_needed:
        raise InputError(
            f"split.group_by makes {groups} groups, but {parts_needed} are needed, one for each part; "
            "group by more columns or by none"
        )


def split_from_column(parts: Mapping[str, str], sample_size: int | None, seed: int) -> list[SplitRow]:
    """Take each image's part as a table names it (train, val or validation, test).

    Args:
        parts: each image's part.
        sample_size: how many training and validation micrographs to use, in their proportion; None for all.
        seed: the seed of params.yaml; it decides which are in a smaller sample.

    Raises:
        InputError: a part has another name, there is none for training or validation, or too few for the sample.
    """
    images = [str(name) for name in generator(seed, "split").permutation(sorted(parts))]
    for image in sorted(parts):
        if parts[image].strip().lower() not in PART_NAMES:
            raise InputError(
                f"split.from_column: {image} is in the part {parts[image]!r}; the column may say "
                f"{', '.join(PART_NAMES)}"
            )
    named = {image: PART_NAMES[parts[image].strip().lower()] for image in images}
    chosen = {part: [image for image in images if named[image] == part] for part in (TRAIN, VALIDATION, TEST)}
    for part in (TRAIN, VALIDATION):
        if not chosen[part]:
            raise InputError(f"split.from_column: no image is in the part {part}; at least one is needed")
    available = len(chosen[VALIDATION]) + len(chosen[TRAIN])
    every = _Parts(chosen[TRAIN], chosen[VALIDATION], chosen[TEST])
    sample = _sample_size(sample_size, available, len(chosen[TEST]))
    return _rows(every, dict.fromkeys(images, ""), sample, Fraction(len(chosen[VALIDATION]), available))


def _count(size: int | float | Fraction, total: int) -> int:
    """Return the number that `size` means: itself, or a share of `total`, rounded up."""
    if isinstance(size, int):
        return size
    # 0.1 as a tenth: in floating point a tenth of thirty is a little more than three, and rounds up to four.
    return math.ceil(Fraction(str(size)) * total)


def _sample_size(asked: int | None, available: int, tested: int) -> int:
    if asked is not None and asked > available:
        raise InputError(
            f"split.sample_size asks for {asked} micrographs, but there are {available} beside the "
            f"{tested} of the test set; ask for at most {available}, or null for all"
        )
    return available if asked is None else asked


def _units(images: Sequence[str], groups: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return what must stay together, in the random order of `images`: whole groups, or single images."""
    members: dict[str, list[str]] = {}
    for image in images:
        members.setdefault(groups[image] or image, []).append(image)
    return [tuple(unit) for unit in members.values()]


Units = list[tuple[str, ...]]


def _choose(units: Units, count: int, leave: int) -> tuple[Units, Units]:
    """Choose units with nearest to `count` images in all, at least one unit, and `leave` or more left over.

    Returns:
        The chosen units and the others, both in the order given.
    """
    if all(len(unit) == 1 for unit in units):
        number = min(count, len(units) - leave)
        return units[:number], units[number:]
    chosen = closest_subset([len(unit) for unit in units], count, len(units) - leave)
    return (
        [unit for index, unit in enumerate(units) if index in chosen],
        [unit for index, unit in enumerate(units) if index not in chosen],
    )


def _in_order(images: Iterable[str], units: Iterable[tuple[str, ...]]) -> list[str]:
    members = {image for unit in units for image in unit}
    return [image for image in images if image in members]


def _rows(
    parts: _Parts, groups: Mapping[str, str], size: int, validation_size: int | float | Fraction
) -> list[SplitRow]:
    train, validation = _take_sample(parts, size, validation_size)
    named = [(image, TRAIN) for image in train] + [(image, VALIDATION) for image in validation]
    named += [(image, TEST) for image in parts.test]
    return sorted((SplitRow(image, split, groups[image]) for image, split in named), key=lambda row: row.image)


def _take_sample(parts: _Parts, size: int, validation_size: int | float | Fraction) -> tuple[list[str], list[str]]:
    """Take `size` images; of any leading part of the sample the same share, or the same number, validates."""
    wanted = min(_count(validation_size, size), size - 1)
    validation_count = min(max(wanted, size - len(parts.train)), len(parts.validation))
    return parts.train[: size - validation_count], parts.validation[:validation_count]


def write_split(path: Path, rows: Iterable[SplitRow]) -> None:
    """Write data/split.csv."""
    import pandas as pd

    table = pd.DataFrame([astuple(row) for row in rows], columns=list(COLUMNS))
    with output_file(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def read_split(path: Path) -> list[SplitRow]:
    """Read data/split.csv; InputError where it is missing or not as `write_split` wrote it."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = table[list(COLUMNS)].itertuples(index=False, name=None)
        return [SplitRow(image, split, group) for image, split, group in rows]
    except FileNotFoundError:
        raise InputError(f"{path}: no such split; run the stage split first") from None
    except (KeyError, ValueError):
        raise InputError(f"{path}: not a table of {', '.join(COLUMNS)}; rerun the stage split") from None


def images_of(rows: Iterable[SplitRow], *splits: str) -> list[str]:
    """Return the images of the named parts, in the order of the table."""
    return [row.image for row in rows if row.split in splits]


def measured_part(rows: Sequence[SplitRow]) -> str:
    """Return the part that evaluation measures: the test set or, where none was drawn, the validation part."""
    return TEST if any(row.split == TEST for row in rows) else VALIDATION


def predicted_images(rows: Sequence[SplitRow], parts: Literal["measured", "all"]) -> list[str]:
    """Return the images that get logits and masks: those that are measured, or all that are not trained with."""
    return images_of(rows, measured_part(rows)) if parts == "measured" else images_of(rows, VALIDATION, TEST)


def part_sizes(rows: Iterable[SplitRow]) -> dict[str, int]:
    """Return the number of images in each of the three parts."""
    counts = Counter(row.split for row in rows)
    return {part: counts[part] for part in (TRAIN, VALIDATION, TEST)}


def closest_subset(sizes: Sequence[int], count: int, most: int) -> set[int]:
    """Return the positions of one to `most` of `sizes` whose sum is nearest to `count`, the smaller of two.

    Of several choices with one sum, the first that is found counts: each number of images remembers the last of
    the units that first made it up, which leads back through all of them.
    """
    # A sum further from `count` than zero is wanted only where no other can be reached: one unit, the smallest.
    largest = max(2 * count, min(sizes))
    last_unit = np.full(largest + 1, -1)
    units_used = np.full(largest + 1, -1)
    units_used[0] = 0
    for index, size in enumerate(sizes):
        if size > largest:
            continue
        extendable = (units_used[: largest + 1 - size] >= 0) & (units_used[: largest + 1 - size] < most)
        fresh = np.flatnonzero(extendable & (units_used[size:] < 0)) + size
        units_used[fresh] = units_used[fresh - size] + 1
        last_unit[fresh] = index
        if last_unit[count] >= 0:
            break
    reached = np.flatnonzero(last_unit >= 0)
    total = int(reached[np.argmin(np.abs(reached - count))])
    chosen = set()
    while total:
        chosen.add(int(last_unit[total]))
        total -= sizes[last_unit[total]]
    return chosen


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
