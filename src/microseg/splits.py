"""Who trains, who watches the training, and who is measured."""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from microseg.common.errors import InputError
from microseg.common.files import write_csv
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
    validation_size: float,
    seed: int,
) -> list[SplitRow]:
    """Draw the test set first, then a sample of the rest, of which a share is set aside for validation.

    The test set depends on nothing but the images, `test_size` and `seed`. Samples are nested, and so are their
    training and validation parts: those of 100 micrographs are among those of 500.

    Args:
        groups: each image's group. Where they differ, whole groups stay together and are chosen so that
            the number of images, not of groups, comes nearest to what was asked for; images of one group, or of
            the group "" (none), are drawn one by one.
        test_size: a share of the images (rounded up) or their number; 0 for no test set.
        sample_size: number of micrographs for training and validation together; None for all that are left.
        validation_size: share of the sample, above 0 and below 1, that watches the training (rounded up).
        seed: the seed of params.yaml.

    Raises:
        InputError: there are fewer micrographs or groups than asked for.
    """
    images = [str(name) for name in generator(seed, "split").permutation(sorted(groups))]
    test_count = math.ceil(_exact(test_size) * len(images)) if isinstance(test_size, float) else test_size
    if test_count + 2 > len(images):
        raise InputError(
            f"split.test_size asks for {test_count} micrographs and training needs two more, but there are "
            f"{len(images)}; lower it"
        )
    units = _units(images, groups)
    parts_needed = 3 if test_count else 2
    if len(units) < parts_needed:
        raise InputError(
            f"split.group_by makes {len(units)} groups, but {parts_needed} are needed, one for each part; "
            "group by more columns or by none"
        )
    test = _choose(units, test_count, leave=2) if test_count else []
    rest = [unit for unit in units if unit not in test]
    validation_count = math.ceil(_exact(validation_size) * sum(map(len, rest)))
    validation = _choose(rest, validation_count, leave=1)
    train = [unit for unit in rest if unit not in validation]
    parts = _Parts(_in_order(images, train), _in_order(images, validation), _in_order(images, test))
    return _rows(parts, groups, sample_size, _exact(validation_size))


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
    share = Fraction(len(chosen[VALIDATION]), len(chosen[VALIDATION]) + len(chosen[TRAIN]))
    every = _Parts(chosen[TRAIN], chosen[VALIDATION], chosen[TEST])
    return _rows(every, dict.fromkeys(images, ""), sample_size, share)


def _exact(share: float) -> Fraction:
    # 0.1 as a tenth: in floating point a tenth of thirty is a little more than three, and rounds up to four.
    return Fraction(str(share))


def _units(images: Sequence[str], groups: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return what must stay together, in the random order of `images`: whole groups, or single images."""
    members: dict[str, list[str]] = {}
    for image in images:
        members.setdefault(groups[image] or image, []).append(image)
    return [tuple(unit) for unit in members.values()]


def _choose(units: Sequence[tuple[str, ...]], count: int, leave: int) -> list[tuple[str, ...]]:
    """Choose units with nearest to `count` images in all, at least one unit, and `leave` or more left over."""
    if all(len(unit) == 1 for unit in units):
        return list(units[: min(count, len(units) - leave)])
    # For each number of images that can be reached, the first choice of units found to reach it.
    choices: dict[int, tuple[int, ...]] = {0: ()}
    for index, unit in enumerate(units):
        for total, chosen in list(choices.items()):
            if len(chosen) < len(units) - leave:
                choices.setdefault(total + len(unit), (*chosen, index))
    nearest = min((total for total in choices if total), key=lambda total: (abs(total - count), total))
    return [units[index] for index in choices[nearest]]


def _in_order(images: Iterable[str], units: Iterable[tuple[str, ...]]) -> list[str]:
    members = {image for unit in units for image in unit}
    return [image for image in images if image in members]


def _rows(parts: _Parts, groups: Mapping[str, str], sample_size: int | None, share: Fraction) -> list[SplitRow]:
    available = len(parts.train) + len(parts.validation)
    if sample_size is not None and sample_size > available:
        raise InputError(
            f"split.sample_size asks for {sample_size} micrographs, but there are {available} beside the "
            f"{len(parts.test)} of the test set; ask for at most {available}, or null for all"
        )
    size = available if sample_size is None else sample_size
    train, validation = _take_sample(parts, size, share)
    named = [(image, TRAIN) for image in train] + [(image, VALIDATION) for image in validation]
    named += [(image, TEST) for image in parts.test]
    return sorted((SplitRow(image, split, groups[image]) for image, split in named), key=lambda row: row.image)


def _take_sample(parts: _Parts, size: int, share: Fraction) -> tuple[list[str], list[str]]:
    """Take `size` images: `share` of any leading part of the sample, rounded up, is for validation."""
    wanted = min(math.ceil(size * share), size - 1)
    validation_count = min(max(wanted, size - len(parts.train)), len(parts.validation))
    return parts.train[: size - validation_count], parts.validation[:validation_count]


def write_split(path: Path, rows: Iterable[SplitRow]) -> None:
    """Write data/split.csv."""
    write_csv(path, ("image", "split", "group"), ((row.image, row.split, row.group) for row in rows))


def read_split(path: Path) -> list[SplitRow]:
    """Read data/split.csv; InputError where it is missing or not as `write_split` wrote it."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [SplitRow(row["image"], row["split"], row["group"]) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such split; run the stage split first") from None
    except KeyError as error:
        raise InputError(f"{path}, line 1: no column {error}; rerun the stage split") from None


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
