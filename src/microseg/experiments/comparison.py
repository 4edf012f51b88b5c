"""Comparable experiments: those that differ in one parameter only, evaluated on the same micrographs."""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import pandas as pd

from microseg.common.errors import InputError
from microseg.common.params import PARAMETER_KEYS
from microseg.evaluation.intervals import FEWEST_UNITS
from microseg.experiments.dvc_access import FINISHED, MISSING, WORKSPACE, Cell, Row, file_at
from microseg.prediction.postprocessing import METHODS

EVALUATION, SPLIT = "reports/evaluation/evaluation.json", "reports/split.json"
"""The reports of an experiment that comparisons read in addition to its parameters."""
IMAGE_TABLE = "reports/evaluation/micrographs.csv"
SAMPLE_SIZE = "split.sample_size"
SEED = "train.seed"
"""Experiments that differ only in it show how much scores vary by chance."""

NO_EFFECT = {
    *(
        "download.manual_dir",
        "download.mirrors",
        "rasterize_masks.examples",
        "split.allow_overlap",
        "predict.subset",
        "evaluate.examples",
        "evaluate.robustness",
    ),
    *("train.checkpoint_epochs", "train.num_workers", "train.activation_checkpointing", "train.compile"),
    "train.accelerator",
}
"""Parameters of where files come from, what is kept or shown, or how the same result is computed faster.

Experiments that differ in these are comparable. train.devices and train.num_nodes are not among them: they
multiply the number of crops in a step.
"""

SCORES = ("mean_iou", "std_iou", "median_iou", "pooled_iou", "fraction_above_095", "fraction_zero")
"""The scores of each method taken from an evaluation, all from 0 to 1."""


@dataclass(frozen=True)
class Dataset:
    """The micrographs that an experiment was evaluated on."""

    source: str
    split: str
    images: int
    ground_truth_sha256: str
    """A digest of their names and annotated masks."""

    def __str__(self) -> str:
        """Return a phrase such as "20 test micrographs of synthetic"."""
        return f"{self.images} {self.split} micrographs of {self.source}"


@dataclass(frozen=True)
class Point:
    """One experiment in the comparison."""

    name: str
    revision: str
    x: Cell
    seed: Cell
    scores: Mapping[str, Mapping[str, float]]
    """The SCORES of each method."""


@dataclass(frozen=True)
class Comparison:
    """Experiments that differ only in `key` and their seed, ordered by both, and those that were excluded."""

    key: str
    points: tuple[Point, ...]
    dataset: Dataset
    excluded: tuple[tuple[str, str], ...]
    """Name of each experiment that is not comparable, and the reason."""

    @property
    def is_numeric(self) -> bool:
        """Whether all values of `key` are numbers."""
        return all(isinstance(point.x, float) for point in self.points)

    @property
    def points_by_x(self) -> dict[Cell, list[Point]]:
        """The experiments of each value of `key`, one for each seed."""
        points: dict[Cell, list[Point]] = {}
        for point in self.points:
            points.setdefault(point.x, []).append(point)
        return points

    @property
    def has_seeds(self) -> bool:
        """Whether each value has enough seeds to distinguish differences from noise."""
        return all(len(points) >= FEWEST_UNITS for points in self.points_by_x.values())

    @property
    def values(self) -> list[float]:
        """The values of `key` as positions on an axis: 0, 1, 2, ... where they are not numbers."""
        return [
            x if self.is_numeric and isinstance(x, float) else float(position)
            for position, x in enumerate(self.points_by_x)
        ]

    def seeds(self, method: str, score: str) -> list[list[float]]:
        """Return one of SCORES for one method: a list for each value of `key` with a score for each seed."""
        return [[point.scores[method][score] for point in points] for points in self.points_by_x.values()]


def compare(rows: Sequence[Row], key: str, conditions: Mapping[str, Cell]) -> Comparison:
    """Select the experiments that agree in everything but the parameter `key` and the training seed.

    They agree with the parameters of the workspace, the first of `rows`, except where `conditions` has another
    value. Of experiments with the same settings the first one is taken. All were evaluated on the micrographs of
    the workspace or, if none was, as with another data source, on those of the first experiment.

    Raises:
        InputError: fewer than two values of `key` remain.
    """
    names = _unique_names(rows)
    # In a fixed order: DVC orders them by when they finished.
    experiments = sorted((row for row in rows if row.name), key=lambda row: (len(names[row]), names[row]))
    reasons = {row: unusable(row, rows[0], key, conditions) for row in experiments}
    usable = [row for row in experiments if not reasons[row]]
    datasets = [dataset_of(row) for row in usable]
    reference = dataset_of(rows[0])
    if datasets and reference not in datasets:
        reference = datasets[0]
    points: dict[tuple[Cell, Cell], Point] = {}
    for row, own in zip(usable, datasets, strict=True):
        x, seed = value_of(row, key), row.parameter(SEED)
        if own != reference:
            reasons[row] = _difference(own, reference)
        elif (x, seed) in points:
            reasons[row] = f"same settings as {points[x, seed].name}"
        else:
            points[x, seed] = Point(names[row], row.revision, x, seed, _scores(row))
    excluded = tuple((names[row], reason) for row, reason in reasons.items() if reason)
    if len({x for x, _ in points}) < 2:
        listed = "".join(f"\n       {name}: {reason}" for name, reason in excluded)
        raise InputError(
            f"a comparison takes two comparable experiments with different values of {key}, but there are "
            f"{len({x for x, _ in points})}; run more with `microseg sweep -S {key}=VALUE,VALUE`, or give the "
            f"settings they have with --where{listed}"
        )
    ordered = sorted(points.values(), key=lambda point: (isinstance(point.x, str), point.x, str(point.seed)))
    return Comparison(key, tuple(ordered), reference, excluded)


def _unique_names(rows: Sequence[Row]) -> dict[Row, str]:
    # Experiments of different commits may have the same name.
    count = Counter(row.name for row in rows)
    return {row: row.name if count[row.name] == 1 else f"{row.name} ({row.revision})" for row in rows}


def unusable(row: Row, reference: Row, key: str, conditions: Mapping[str, Cell]) -> str:
    """Return why an experiment is not comparable with `reference` in everything but `key`; "" if it is."""
    if row.state != FINISHED:
        return row.state
    if any(not isinstance(row.metric(EVALUATION, f"{method}.{SCORES[0]}"), float) for method in METHODS):
        return "no evaluation"
    ignored = NO_EFFECT | {key} | ({SEED} - conditions.keys())
    others = [one for one in PARAMETER_KEYS if one not in ignored]
    differences = []
    for other in others:
        expected = conditions.get(other, reference.parameter(other))
        if row.parameter(other) != expected:
            differences.append(f"{other} is {show(row.parameter(other))}, not {show(expected)}")
    if any(difference.startswith("download.") for difference in differences):
        return f"other data source: {'; '.join(differences)}"
    if key == SAMPLE_SIZE and value_of(row, key) == MISSING:
        differences.append(f"{key} is null, and {SPLIT} does not have the number of micrographs")
    return "; ".join(differences)


def value_of(row: Row, key: str) -> Cell:
    """Return the value of the parameter `key`; for a sample of all micrographs, their number."""
    value = row.parameter(key)
    if key == SAMPLE_SIZE and value == MISSING:
        counts = [row.metric(SPLIT, subset) for subset in ("train", "validation")]
        if all(isinstance(count, float) for count in counts):
            return sum(count for count in counts if isinstance(count, float))
    return value


def dataset_of(row: Row) -> Dataset:
    """Return the micrographs that an experiment was evaluated on."""
    source, split, images, digest = (
        row.metric(EVALUATION, f"dataset.{key}") for key in ("source", "split", "images", "ground_truth_sha256")
    )
    return Dataset(str(source), str(split), int(images) if isinstance(images, float) else 0, str(digest))


def show(value: Cell) -> str:
    """Return a value as params.yaml has it: 5 for 5.0, null for MISSING."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "null" if value == MISSING else value


def _difference(own: Dataset, reference: Dataset) -> str:
    if own.source != reference.source:
        return f"other data source: {own.source}, not {reference.source}"
    if own.split != reference.split:
        return f"evaluated on the {own.split} micrographs, not on the {reference.split} micrographs"
    return f"other {own.split} micrographs"


def _scores(row: Row) -> dict[str, dict[str, float]]:
    return {
        method: {score: float(row.metric(EVALUATION, f"{method}.{score}")) for score in SCORES}
        for method in METHODS
    }


def read_dataset(revision: str | None) -> Dataset:
    """Read what a commit, an experiment or, with None, the workspace was evaluated on.

    Raises:
        InputError: it has no evaluation.
    """
    text = file_at(revision, EVALUATION)
    if text is None:
        raise InputError(
            f"{revision or WORKSPACE}: no such experiment or commit with an evaluation; `dvc exp show` lists them"
        )
    dataset = json.loads(text)["dataset"]
    return Dataset(*(dataset[one.name] for one in fields(Dataset)))


@dataclass(frozen=True)
class Micrographs:
    """The IoU of one experiment on each micrograph, in the same order for all experiments."""

    iou: Mapping[str, Sequence[float]]
    """By method."""
    groups: Sequence[str]
    """The group of each micrograph, "" if it has none."""


def read_image_table(revision: str | None) -> pd.DataFrame | None:
    """Read the scores of each micrograph in a commit, an experiment or, with None, the workspace; None without.

    Groups are text: one called NA, None or nan is a group, and one called 3 is not that of 3.0.
    """
    text = file_at(revision, IMAGE_TABLE)
    if text is None:
        return None
    undefined = {"border_distance": [""], "hausdorff95": [""]}
    return pd.read_csv(io.StringIO(text), dtype={"group": str}, keep_default_na=False, na_values=undefined)


def read_micrographs(comparison: Comparison) -> dict[str, Micrographs]:
    """Read the IoU on each micrograph of the experiments that have such a table, by experiment.

    With too few seeds they are not needed, and none is read.
    """
    if not comparison.has_seeds:
        return {}
    tables = {point.name: read_image_table(point.revision) for point in comparison.points}
    return {name: _micrographs(table) for name, table in tables.items() if table is not None and "group" in table}


def _micrographs(table: pd.DataFrame) -> Micrographs:
    methods = {method: table[table["method"] == method].sort_values("image") for method in METHODS}
    iou = {method: [float(value) for value in rows["iou"]] for method, rows in methods.items()}
    return Micrographs(iou, [str(group) for group in methods[METHODS[0]]["group"]])
