"""Which micrographs are for training, validation and test, at random, by folds, or as a table says.

The random order is that of a hash of the seed and the name of an image or group. So a few more annotated
micrographs leave the rest of the split as it is. scikit-learn's GroupShuffleSplit draws anew for every number of
images, counts groups instead of images, and its samples are not nested.
"""

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.common.files import write_csv
from microseg.common.randomness import generator

TRAIN, VALIDATION, TEST = "train", "validation", "test"
COLUMN_VALUES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""What the column split.from_column may contain."""

COLUMNS = ("image", "split", "group")

FOLD_DRAWS, FOLD_NOISE = 30, 0.5
"""Of this many deals, each with sizes of groups randomly changed by this fraction, the most even one counts."""

Size = int | float | Fraction
"""A number of images, or a fraction of them."""

Units = list[tuple[str, ...]]
"""Groups of images that stay together, or single images."""


@dataclass(frozen=True)
class SplitRow:
    """The split of one micrograph: train, validation or test; `group` is empty without grouping."""

    image: str
    split: str
    group: str


def draw_split(
    groups: Mapping[str, str],
    *,
    test_size: int | float,
    sample_size: int | None,
    validation_size: int | float,
    seed: int,
    validation_fold: int = 0,
) -> list[SplitRow]:
    """Draw the test set first, then a sample of the rest, part of which is set aside for validation.

    The test set depends only on the images, `test_size` and `seed`; one more image changes at most one of a given
    number of test images. Samples are nested, and so are their training and validation sets: those of 100
    micrographs are among those of 500. If `validation_size` is a number, samples of any size have the same
    validation set.

    Args:
        groups: the group of each image. Whole groups stay together and are chosen by the number of their images;
            images of the group "" are drawn one by one.
        test_size: a fraction of the images (rounded up) or their number; 0 for no test set.
        sample_size: number of micrographs for training and validation together; None for all except the test set.
        validation_size: a fraction of the sample, above 0 and below 1 (rounded up), or a number of micrographs, >=
            1, which whole groups meet within half a group.
        seed: the seed of params.yaml.
        validation_fold: which part of the sample is the validation set; those of different numbers are disjoint.

    Raises:
        InputError: there are fewer micrographs or groups than requested, or none would be left for training.
    """
    images = _shuffled(groups, seed)
    units = _units(images, groups, seed)
    test_count = _count(test_size, len(images))
    _check_test_count(test_count, len(images), len(units))
    test, rest = _choose(units, test_count, leave=2) if test_count else ([], units)
    available = sum(map(len, rest))
    sample = _checked_sample_size(sample_size, available, len(images) - available)
    if isinstance(validation_size, int) and validation_size >= sample:
        raise InputError(
            f"split.validation_size asks for {validation_size} of the {sample} micrographs of the sample, which "
            "leaves none for training; lower it"
        )
    validation: Units = []
    others = rest
    wanted = _count(validation_size, available)
    for number in range(validation_fold + 1):
        if number and sum(map(len, others)) < wanted:
            raise InputError(f"split.validation_fold: the sample has only {number} validation sets; lower it")
        validation, others = _choose(others, wanted, leave=1)
    train = [unit for unit in rest if unit not in validation]
    named = ((TRAIN, train), (VALIDATION, validation), (TEST, test))
    split_of = {image: split for split, chosen in named for unit in chosen for image in unit}
    return _rows(images, split_of, groups, sample, validation_size)


def join_copies(groups: Mapping[str, str], copies: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return the group of each image, "" for none, where those that share a picture are joined as "a + b".

    `copies` has the names of each picture that has several.
    """
    joined = dict(groups)
    for same in copies:
        names = sorted({joined[image] or image for image in same})
        for image, group in joined.items():
            if image in same or (group and group in names):
                joined[image] = " + ".join(names)
    return joined


def _place(name: str, seed: int) -> bytes:
    """Return the place of an image or a group in the random order, which depends on no other name."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _shuffled(images: Iterable[str], seed: int) -> list[str]:
    return sorted(images, key=lambda image: _place(image, seed))


def _units(images: Sequence[str], groups: Mapping[str, str], seed: int) -> Units:
    """Return the groups, and the images without one, in random order; within a group in the order of `images`."""
    members: dict[tuple[str, str], list[str]] = {}
    for image in images:
        # As a pair, because a group may have the name of an image.
        members.setdefault((groups[image], "" if groups[image] else image), []).append(image)
    return [tuple(members[key]) for key in sorted(members, key=lambda key: _place("".join(key), seed))]


def _check_test_count(test_count: int, images: int, groups: int) -> None:
    """Raise InputError if so many test micrographs leave too few for training and validation."""
    if test_count + 2 > images:
        raise InputError(
            f"split.test_size asks for {test_count} micrographs and training needs two more, but there are "
            f"{images}; lower it"
        )
    needed = 3 if test_count else 2
    if groups < needed:
        raise InputError(
            f"split.group_by makes {groups} groups, but {needed} are needed, one for each split; "
            "group by more columns or by none (copies of a picture always form one group)"
        )


def _choose(units: Units, count: int, leave: int) -> tuple[Units, Units]:
    """Choose one or more units with about `count` images, and leave `leave` units or more.

    Each unit that fits is taken, in the given order, and then the one that comes closest to `count`, if any comes
    closer. The closest subset of all would often be another one after a new image, and the same for most seeds.
    The chosen units and the others keep their order.
    """
    most, total = len(units) - leave, 0
    chosen: set[int] = set()
    for index, unit in enumerate(units):
        if total + len(unit) <= count and len(chosen) < most:
            chosen.add(index)
            total += len(unit)
    others = [index for index in range(len(units)) if index not in chosen]
    closest = min(others, key=lambda index: (abs(total + len(units[index]) - count), len(units[index])))
    if not chosen or (len(chosen) < most and abs(total + len(units[closest]) - count) < count - total):
        chosen.add(closest)
    return (
        [unit for index, unit in enumerate(units) if index in chosen],
        [unit for index, unit in enumerate(units) if index not in chosen],
    )


def split_from_column(
    values: Mapping[str, str], sample_size: int | None, seed: int, copies: Sequence[Sequence[str]] = ()
) -> list[SplitRow]:
    """Split as a column of a table says (train; val, valid or validation; test).

    Args:
        values: the value of the column for each image.
        sample_size: number of micrographs for training and validation, in the proportion of the table; None for
            all.
        seed: the seed of params.yaml; it decides which are in a smaller sample.
        copies: the names of each picture that has several.

    Raises:
        InputError: a value is unknown, copies of a picture are in different splits, there is no image for training
            or validation, or too few for the sample.
    """
    images = _shuffled(values, seed)
    for image in sorted(values):
        if values[image].strip().lower() not in COLUMN_VALUES:
            raise InputError(
                f"split.from_column: {image} has the value {values[image]!r}; the column may contain "
                f"{', '.join(COLUMN_VALUES)}"
            )
    split_of = {image: COLUMN_VALUES[values[image].strip().lower()] for image in images}
    _refuse_separated_copies("split.from_column", split_of, copies)
    sizes = Counter(split_of.values())
    for split in (TRAIN, VALIDATION):
        if not sizes[split]:
            raise InputError(f"split.from_column: no image is for {split}; at least one is needed")
    available = sizes[TRAIN] + sizes[VALIDATION]
    sample = _checked_sample_size(sample_size, available, sizes[TEST])
    groups = join_copies(dict.fromkeys(images, ""), copies)
    return _rows(images, split_of, groups, sample, Fraction(sizes[VALIDATION], available))


def _refuse_separated_copies(key: str, values: Mapping[str, str], copies: Iterable[Sequence[str]]) -> None:
    for same in copies:
        if len({values[image] for image in same}) > 1:
            listed = ", ".join(f"{image} ({values[image]})" for image in same)
            raise InputError(f"{key}: one picture is in different splits, as {listed}; give all the same value")


def _count(size: Size, total: int) -> int:
    """Return the number that `size` stands for: itself, or a fraction of `total`, rounded up."""
    if isinstance(size, int):
        return size
    # 0.1 as exactly a tenth: in floating point, a tenth of thirty is slightly more than three and rounds up to
    # four.
    return math.ceil(Fraction(str(size)) * total)


def _checked_sample_size(requested: int | None, available: int, tested: int) -> int:
    if requested is not None and requested > available:
        raise InputError(
            f"split.sample_size asks for {requested} micrographs, but there are {available} beside the "
            f"{tested} of the test set; ask for at most {available}, or null for all"
        )
    return available if requested is None else requested


def _rows(
    images: Sequence[str],
    split_of: Mapping[str, str],
    groups: Mapping[str, str],
    sample: int,
    validation_size: Size,
) -> list[SplitRow]:
    """Return the test set, and of training and validation the first images, `sample` in all, in a fixed ratio."""
    train, validation, test = (
        [image for image in images if split_of[image] == split] for split in (TRAIN, VALIDATION, TEST)
    )
    wanted = min(_count(validation_size, sample), sample - 1)
    validation_count = min(max(wanted, sample - len(train)), len(validation))
    used = (*train[: sample - validation_count], *validation[:validation_count], *test)
    return [SplitRow(image, split_of[image], groups[image]) for image in sorted(used)]


@dataclass(frozen=True)
class Fold:
    """One of `count` folds; the first one has the number 0."""

    number: int
    count: int


def fold_of_column(values: Mapping[str, str], number: int, copies: Iterable[Sequence[str]] = ()) -> set[str]:
    """Return the images of one of the folds in a column of a table, whose place among all of them is `number`.

    Raises:
        InputError: as for `folds_of_column`, there is no such fold, or copies of a picture are in different folds.
    """
    folds = folds_of_column(values)
    if number >= len(folds):
        raise InputError(f"split.fold is {number}, but of {len(folds)} folds the last one is {len(folds) - 1}")
    _refuse_separated_copies("split.fold_column", values, copies)
    return {image for image, value in values.items() if value == folds[number]}


def folds_of_column(values: Mapping[str, str]) -> list[str]:
    """Return the folds in a column of a table, numbers first; InputError for fewer than two, or an empty cell."""
    empty = [image for image in sorted(values) if not values[image]]
    if empty:
        raise InputError(f"split.fold_column: {empty[0]} has no value; write its fold into every line")
    folds = sorted(set(values.values()), key=lambda one: (int(one) if one.isdecimal() else math.inf, one))
    if len(folds) < 2:
        raise InputError(
            f"split.fold_column: all micrographs are in one fold, {folds[0]}; two are needed at least"
        )
    return folds


def draw_beside(
    test: Container[str], groups: Mapping[str, str], draw: Callable[..., list[SplitRow]]
) -> list[SplitRow]:
    """Return a given test set, and what `draw`, as `draw_split` does, takes from the other images."""
    rows = draw({image: group for image, group in groups.items() if image not in test}, test_size=0)
    rows += [SplitRow(image, TEST, group) for image, group in groups.items() if image in test]
    return sorted(rows, key=lambda row: row.image)


def images_of_fold(groups: Mapping[str, str], islands: Mapping[str, int], fold: Fold, seed: int) -> set[str]:
    """Return the images of one fold; every image is in exactly one fold of a seed.

    Args:
        groups: the group of each image, "" for none; a whole group is in one fold.
        islands: the number of islands of each image. Folds are as even as they can be in images and in islands.
        fold: the fold.
        seed: the seed of params.yaml.

    Raises:
        InputError: there are fewer groups or micrographs than folds, or too few remain for training.
    """
    units = _units(sorted(groups), groups, seed)
    if len(units) < fold.count:
        raise InputError(
            f"split.folds asks for {fold.count} folds, but there are {len(units)} groups or micrographs; lower it"
        )
    sizes = np.array([(len(unit), sum(islands[image] for image in unit)) for unit in units])
    noise = generator(seed, "folds").uniform(1 - FOLD_NOISE, 1 + FOLD_NOISE, (FOLD_DRAWS, len(units)))
    _, fold_of = min((_deal(sizes, fold.count, one) for one in noise), key=lambda dealt: dealt[0])
    if fold_of.count(fold.number) > len(units) - 2:
        raise InputError(
            f"split.folds: fold {fold.number} of {fold.count} leaves one group or micrograph for training and "
            "validation, which need two; raise it, or annotate more"
        )
    return {image for unit, number in zip(units, fold_of, strict=True) if number == fold.number for image in unit}


def _deal(sizes: NDArray[np.int64], folds: int, noise: NDArray[np.float64]) -> tuple[float, list[int]]:
    """Deal units to folds, the largest first, each to the fold with the fewest images, then islands.

    After Graham, Bounds on Multiprocessing Timing Anomalies, SIAM Journal on Applied Mathematics 17:416 (1969).

    Args:
        sizes: the numbers of images and of islands of each unit, (units, 2).
        folds: the number of folds, at most that of the units.
        noise: factors on the size of each unit in the order, (units,).

    Returns:
        The range of images over the folds plus that of islands, each as a fraction of all; and the fold of each
        unit.
    """
    total = np.maximum(sizes.sum(axis=0), 1)
    order = np.argsort(-(sizes / total).sum(axis=1) * noise)
    fold_of = [0] * len(sizes)
    heap = [(0, 0, number) for number in range(folds)]
    for index, (images, islands) in zip(order.tolist(), sizes[order].tolist(), strict=True):
        held_images, held_islands, fold_of[index] = heap[0]
        heapq.heapreplace(heap, (held_images + images, held_islands + islands, fold_of[index]))
    ranges = np.ptp([held[:2] for held in heap], axis=0)
    return float((ranges / total).sum()), fold_of


def write_split(path: Path, rows: Iterable[SplitRow]) -> None:
    """Write data/split.csv."""
    write_csv(path, COLUMNS, map(astuple, rows))


def read_split(path: Path) -> list[SplitRow]:
    """Read data/split.csv; InputError if it is missing or not as `write_split` wrote it."""
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
    """Return the images of the named splits, in the order of the table."""
    return [row.image for row in rows if row.split in splits]


def split_sizes(rows: Iterable[SplitRow]) -> dict[str, int]:
    """Return the number of images in each of the three splits."""
    counts = Counter(row.split for row in rows)
    return {split: counts[split] for split in (TRAIN, VALIDATION, TEST)}


def evaluated_split(rows: Sequence[SplitRow]) -> str:
    """Return the split that evaluation measures: the test set, or the validation set if there is no test set."""
    return TEST if any(row.split == TEST for row in rows) else VALIDATION


def predicted_images(rows: Sequence[SplitRow], subset: Literal["measured", "all"]) -> list[str]:
    """Return the images to predict: those that are measured, or all that are not used for training."""
    return images_of(rows, evaluated_split(rows)) if subset == "measured" else images_of(rows, VALIDATION, TEST)
