"""Paired comparison of two experiments on the same micrographs: how scores differ, and whether by chance."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.common.tables import markdown_table
from microseg.evaluation.intervals import (
    CONFIDENCE,
    FRACTION_DIFFERENCE,
    Estimate,
    difference_interval,
    estimate,
    unit_numbers,
    wilcoxon_p,
)
from microseg.experiments.comparison import IMAGE_TABLE, Dataset, read_dataset, read_image_table
from microseg.experiments.dvc_access import WORKSPACE
from microseg.prediction.postprocessing import METHODS

Values = NDArray[np.float64]

SCORES = {
    "mean IoU": (("iou",), ()),
    "mean Dice": (("dice",), ()),
    "pooled IoU": (("true_positives",), ("true_positives", "false_positives", "false_negatives")),
    "F1 of the islands": (
        ("islands_found", "islands_found"),
        ("islands_found", "islands_found", "islands_missed", "islands_invented"),
    ),
    "panoptic quality": (
        ("islands_covered", "islands_covered"),
        ("islands_found", "islands_found", "islands_missed", "islands_invented"),
    ),
}
"""Each score is the ratio of sums over micrographs: of the first columns by the second, or by their number."""
PAIRED_BY_MICROGRAPH = {"mean IoU": "iou", "mean Dice": "dice"}
"""The scores that are means over micrographs, with their columns; Wilcoxon's test is made for these."""
CERTAINTY, POWER = 1.959964, 0.841621
"""In standard deviations: half a 95 % interval, and a power of 80 %."""


@dataclass(frozen=True)
class Difference:
    """The difference of one score, second experiment minus first, over `units` micrographs or groups (`unit`)."""

    method: str
    score: str
    first: float
    second: float
    difference: Estimate
    units: int
    unit: str
    p_value: float | None
    """Of Wilcoxon's signed-rank test; None where it is not made."""

    @property
    def is_decided(self) -> bool:
        """Whether the 95 % interval excludes zero."""
        interval = self.difference.interval
        return interval is not None and not interval.low <= 0 <= interval.high

    @property
    def more_needed(self) -> int | None:
        """How many more units it takes to detect a difference of the observed size with a power of 80 %.

        After Guenther (The American Statistician 35:243, 1981). None where the difference is decided or zero, or
        has no interval.
        """
        from scipy.stats import t

        interval = self.difference.interval
        if self.is_decided or interval is None or not self.difference.value:
            return None
        # Half an interval narrows with the square root of the number of units.
        error = (interval.high - interval.low) / 2 / float(t.ppf((1 + CONFIDENCE) / 2, self.units - 1))
        needed = self.units * ((CERTAINTY + POWER) * error / abs(self.difference.value)) ** 2 + CERTAINTY**2 / 2
        return max(1, math.ceil(needed) - self.units)


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of an experiment, a commit or the workspace."""

    name: str
    dataset: Dataset
    table: pd.DataFrame
    """A row for each micrograph and method."""


def read_evaluated(revision: str) -> Evaluated:
    """Read the evaluation of an experiment, a commit, or the "workspace".

    Raises:
        InputError: there is none, or it is from an older version that did not count islands.
    """
    where = None if revision == WORKSPACE else revision
    dataset, table = read_dataset(where), read_image_table(where)
    if table is None or "islands_found" not in table:
        raise InputError(f"{revision}: {IMAGE_TABLE} has no column islands_found; rerun the stage evaluate there")
    return Evaluated(revision, dataset, table)


def differences(first: Evaluated, second: Evaluated) -> list[Difference]:
    """Compare two experiments score by score, for each method.

    Raises:
        InputError: they were not evaluated on the same micrographs.
    """
    if first.dataset != second.dataset:
        raise InputError(
            f"{first.name} was evaluated on {first.dataset} and {second.name} on {second.dataset}, "
            f"whose digests are {first.dataset.ground_truth_sha256} and {second.dataset.ground_truth_sha256}; "
            "give two experiments on the same micrographs"
        )
    return [_difference(first.table, second.table, method, score) for method in METHODS for score in SCORES]


def _difference(first: pd.DataFrame, second: pd.DataFrame, method: str, score: str) -> Difference:
    one, other = (table[table["method"] == method].set_index("image").sort_index() for table in (first, second))
    groups = [str(group) for group in one["group"]]
    sums = [sums_of(table, score) for table in (one, other)]
    before, after = (estimate(*columns).value for columns in sums)
    interval = difference_interval(sums[1], sums[0], groups=groups, bounds=FRACTION_DIFFERENCE)
    column = PAIRED_BY_MICROGRAPH.get(score)
    return Difference(
        method=method,
        score=score,
        first=before,
        second=after,
        difference=Estimate(after - before, interval),
        units=int(unit_numbers(groups).max()) + 1,
        unit="groups" if any(groups) else "micrographs",
        p_value=None if column is None else wilcoxon_p(other[column], one[column], groups),
    )


def sums_of(table: pd.DataFrame, score: str) -> tuple[Values, Values]:
    """Return the terms, one for each row, whose sums a score of SCORES is the ratio of."""
    above, below = SCORES[score]
    ones = np.ones(len(table))
    return _sum(table, above), _sum(table, below) if below else ones


def _sum(table: pd.DataFrame, columns: tuple[str, ...]) -> Values:
    return np.asarray(table[list(columns)].to_numpy(dtype=np.float64).sum(axis=1))


def to_markdown(first: Evaluated, second: Evaluated, found: list[Difference]) -> str:
    """Return the differences as Markdown: a table with a verdict for each score."""
    lines = [
        f"## {second.name} against {first.name}",
        "",
        f"On the same {first.dataset} (digest {first.dataset.ground_truth_sha256}). Intervals are 95 % "
        f"intervals of the paired difference over {found[0].units} {found[0].unit}.",
        "",
        *markdown_table(
            ("method", "score", first.name, second.name, "difference", "95 % interval", "Wilcoxon's p", ""),
            map(_table_row, found),
        ),
    ]
    if first.dataset.split == "test":
        lines += [
            "These are test scores: they confirm a difference. Choose between experiments on the validation "
            "micrographs (`microseg experiments --best`).",
            "",
        ]
    lines.append(
        "Trainings that differ only in their seed also differ in score; the intervals do not include that."
    )
    return "\n".join(lines) + "\n"


def _table_row(one: Difference) -> tuple[str, ...]:
    bounds = one.difference.bounds
    interval = "" if bounds is None else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
    p_value = "" if one.p_value is None else f"{one.p_value:.2g}"
    values = f"{one.first:.4f}", f"{one.second:.4f}", f"{one.difference.value:+.4f}"
    return one.method, one.score, *values, interval, p_value, _verdict(one)


def _verdict(one: Difference) -> str:
    if one.is_decided:
        return "better" if one.difference.value > 0 else "worse"
    if not one.difference.value:
        return "no difference"
    if one.difference.bounds is None:
        return f"undecided: no interval over {one.units} {one.unit}"
    return f"undecided; about {one.more_needed} more {one.unit} would decide it"
