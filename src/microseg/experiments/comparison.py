"""Which experiments differ in one parameter only and were evaluated on the same micrographs, and their scores."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from microseg.common.errors import InputError
from microseg.common.params import PARAMETER_KEYS
from microseg.experiments.dvc_access import FINISHED, MISSING, Cell, Row, file_at
from microseg.prediction.postprocessing import METHODS

EVALUATION, SPLIT = "metrics/evaluation.json", "metrics/split.json"
IMAGE_TABLE = "plots/evaluation.csv"
SAMPLE_SIZE = "split.sample_size"
SEED = "train.seed"
"""Experiments that differ in it alone show what differs by chance: they stand at one place."""

NO_EFFECT = frozenset(
    {
        "download.manual_dir",
        "download.mirrors",
        "rasterize_masks.examples",
        "train.checkpoint_epochs",
        "train.num_workers",
        "train.activation_checkpointing",
        "train.compile",
        "train.accelerator",
        "predict.subset",
        "evaluate.examples",
    }
)
"""Parameters that say where files come from, what is kept or shown, or how the same is computed faster.

Experiments that differ in these are comparable. train.devices and train.num_nodes are none of them: they multiply
the number of crops in a step.
"""

SCORES = ("mean_iou", "std_iou", "median_iou", "pooled_iou", "fraction_above_095", "fraction_zero")
"""What is taken from the evaluation of each method, all of them 0 to 1."""


@dataclass(frozen=True)
class MeasuredOn:
    """The micrographs that an experiment was judged on."""

    dataset: str
    split: str
    images: int
    truth: str
    """A digest of their names and annotated masks."""

    def __str__(self) -> str:
        """Return a phrase such as "20 test micrographs of synthetic"."""
        return f"{self.images} {self.split} micrographs of {self.dataset}"


@dataclass(frozen=True)
class Point:
    """One experiment in the comparison."""

    name: str
    revision: str
    x: Cell
    seed: Cell
    scores: Mapping[str, Mapping[str, float]]
    """For each method the SCORES."""


@dataclass(frozen=True)
class Comparison:
    """Experiments that differ in `key` and their seed only, in the order of both, and those that were left out."""

    key: str
    points: tuple[Point, ...]
    measured_on: MeasuredOn
    left_out: tuple[tuple[str, str], ...]
    """Name and reason of each experiment that is not comparable."""

    @property
    def is_numeric(self) -> bool:
        """Whether all values of `key` are numbers, so that they have places on an axis."""
        return all(isinstance(point.x, float) for point in self.points)

    @property
    def places(self) -> dict[Cell, list[Point]]:
        """For each value of `key` its experiments, one for each seed."""
        places: dict[Cell, list[Point]] = {}
        for point in self.points:
            places.setdefault(point.x, []).append(point)
        return places

    @property
    def has_seeds(self) -> bool:
        """Whether there are two seeds or more at each place: else nothing can be told from noise."""
        return all(len(points) > 1 for points in self.places.values())

    @property
    def values(self) -> list[float]:
        """The values of `key` as places on an axis; where they are no numbers, 0, 1, 2, ..."""
        return [
            x if self.is_numeric and isinstance(x, float) else float(place) for place, x in enumerate(self.places)
        ]

    def seeds(self, method: str, score: str) -> list[list[float]]:
        """Return one of SCORES for one method, a list for each place with a value for each seed."""
        return [[point.scores[method][score] for point in points] for points in self.places.values()]


def compare(rows: Sequence[Row], key: str, conditions: Mapping[str, Cell]) -> Comparison:
    """Choose the experiments that are comparable in everything but the parameter `key` and the training's seed.

    What they have in common are the parameters of the workspace, the first of `rows`, unless `conditions` names
    another value. Of experiments with the same settings the first counts. They are judged on the micrographs that
    the workspace was judged on, or, where none was, as for another source of data, on those of the first one.

    Raises:
        InputError: fewer than two values of `key` are left.
    """
    names = _labels(rows)
    # In a fixed order: DVC's own is that of their ends.
    experiments = sorted((row for row in rows if row.name), key=lambda row: (len(names[row]), names[row]))
    reasons = {row: unusable(row, rows[0], key, conditions) for row in experiments}
    usable = [row for row in experiments if not reasons[row]]
    judged = [measured_on(row) for row in usable]
    reference = measured_on(rows[0])
    if judged and reference not in judged:
        reference = judged[0]
    points: dict[tuple[Cell, Cell], Point] = {}
    for row, own in zip(usable, judged, strict=True):
        x, seed = value_of(row, key), row.parameter(SEED)
        if own != reference:
            reasons[row] = _why_not_the_same(own, reference)
        elif (x, seed) in points:
            reasons[row] = f"same settings as {points[x, seed].name}"
        else:
            points[x, seed] = Point(names[row], row.revision, x, seed, _scores(row))
    left_out = tuple((names[row], reason) for row, reason in reasons.items() if reason)
    if len({x for x, _ in points}) < 2:
        listed = "".join(f"\n       {name}: {reason}" for name, reason in left_out)
        raise InputError(
            f"it takes two comparable experiments with different values of {key}, but there are "
            f"{len({x for x, _ in points})}; "
            f"run more with `microseg sweep -S {key}=VALUE,VALUE`, or say with --where which settings they "
            f"have{listed}"
        )
    ordered = sorted(points.values(), key=lambda point: (isinstance(point.x, str), point.x, str(point.seed)))
    return Comparison(key, tuple(ordered), reference, left_out)


def _labels(rows: Sequence[Row]) -> dict[Row, str]:
    # Experiments of different commits may have one name.
    count = Counter(row.name for row in rows)
    return {row: row.name if count[row.name] == 1 else f"{row.name} ({row.revision})" for row in rows}


def unusable(row: Row, reference: Row, key: str, conditions: Mapping[str, Cell]) -> str:
    """Return why an experiment is not comparable to the settings of `reference`, "" where it is."""
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
        differences.append(f"{key} is null, and {SPLIT} does not say how many micrographs that were")
    return "; ".join(differences)


def value_of(row: Row, key: str) -> Cell:
    """Return the value of the parameter `key`; for a sample of all micrographs, how many these were."""
    value = row.parameter(key)
    if key == SAMPLE_SIZE and value == MISSING:
        parts = [row.metric(SPLIT, part) for part in ("train", "validation")]
        if all(isinstance(part, float) for part in parts):
            return sum(part for part in parts if isinstance(part, float))
    return value


def measured_on(row: Row) -> MeasuredOn:
    """Return which micrographs the experiment was judged on."""
    dataset, split, images, truth = (
        row.metric(EVALUATION, f"measured_on.{key}") for key in ("dataset", "split", "images", "truth")
    )
    return MeasuredOn(str(dataset), str(split), int(images) if isinstance(images, float) else 0, str(truth))


def show(value: Cell) -> str:
    """Return a value as params.yaml has it: 5 for 5.0, null for what is not there."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "null" if value == MISSING else value


def _why_not_the_same(own: MeasuredOn, reference: MeasuredOn) -> str:
    if own.dataset != reference.dataset:
        return f"other data source: {own.dataset}, not {reference.dataset}"
    if own.split != reference.split:
        return f"measured on the {own.split} part, not on the {reference.split} part"
    return f"other {own.split} micrographs"


def _scores(row: Row) -> dict[str, dict[str, float]]:
    return {
        method: {score: float(row.metric(EVALUATION, f"{method}.{score}")) for score in SCORES}
        for method in METHODS
    }


@dataclass(frozen=True)
class Micrographs:
    """The IoU that one experiment has on each micrograph, by method, in one order for all experiments."""

    iou: Mapping[str, Sequence[float]]
    groups: Sequence[str]
    """The group of each micrograph, "" where it has none."""


def read_image_table(revision: str | None) -> pd.DataFrame | None:
    """Read the table of micrographs of an experiment, a commit or, with None, the workspace; None without one."""
    text = file_at(revision, IMAGE_TABLE)
    return None if text is None else pd.read_csv(io.StringIO(text)).fillna({"group": ""})


def read_micrographs(comparison: Comparison) -> dict[str, Micrographs]:
    """Read the IoU on each micrograph of those experiments that have a table of it, by their names.

    With one seed at a place there is nothing to do with them, and none is read.
    """
    if not comparison.has_seeds:
        return {}
    tables = {point.name: read_image_table(point.revision) for point in comparison.points}
    return {name: _micrographs(table) for name, table in tables.items() if table is not None and "group" in table}


def _micrographs(table: pd.DataFrame) -> Micrographs:
    methods = {method: table[table["method"] == method].sort_values("image") for method in METHODS}
    iou = {method: [float(value) for value in rows["iou"]] for method, rows in methods.items()}
    return Micrographs(iou, [str(group) for group in methods[METHODS[0]]["group"]])
