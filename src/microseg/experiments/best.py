"""The best experiment, chosen on the validation micrographs, so that its test score remains unbiased."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from microseg.common.errors import InputError
from microseg.common.params import PARAMETER_KEYS
from microseg.common.tables import markdown_table
from microseg.experiments.comparison import EVALUATION, NO_EFFECT, Dataset, dataset_of, show
from microseg.experiments.dvc_access import FINISHED, Cell, Row
from microseg.prediction.postprocessing import METHODS

TRAINING = "metrics/train.json"
TRAINING_DATA = ("data/raw/images", "data/masks", "data/split.csv")
"""Micrographs, annotated masks and split, of whose digests an experiment keeps a record."""
DATA_KEYS = tuple(
    key
    for key in PARAMETER_KEYS
    if key not in NO_EFFECT and key.split(".")[0] in ("seed", "download", "parse_csv", "split")
)
"""Parameters that determine the training, validation and test sets; validation scores compare if they agree."""


@dataclass(frozen=True)
class Choice:
    """The experiments to choose from, by decreasing validation IoU, and why the others were excluded."""

    candidates: tuple[tuple[str, float], ...]
    """Name and validation IoU of each, at least one; the first is chosen."""
    test_scores: Mapping[str, float]
    """The test score of the chosen experiment alone: mean IoU by method."""
    dataset: Dataset
    excluded: tuple[tuple[str, str], ...]


def choose(rows: Sequence[Row], conditions: Mapping[str, Cell]) -> Choice:
    """Choose the experiment with the highest validation IoU among those with the data of the workspace.

    The workspace is the first of `rows`; `conditions` are parameters in which experiments differ from it. Where
    none has its data, as with another source, the data are those of the first experiment.

    Raises:
        InputError: there is no experiment to choose from.
    """
    scores: dict[Row, float] = {}
    excluded = []
    usable = {row: _unusable(row, rows[0], conditions) for row in rows if row.name}
    data = [_training_data(row) for row, reason in usable.items() if not reason]
    reference = data[0] if data and _training_data(rows[0]) not in data else _training_data(rows[0])
    for row, unusable in usable.items():
        others = [name for name, digest in _training_data(row).items() if digest != reference[name]]
        reason = unusable or (f"other {' and '.join(others)}" if others else "")
        validation = row.metric(TRAINING, "validation_iou")
        if reason or not isinstance(validation, float):
            excluded.append((row.name, reason or "no validation score"))
        else:
            scores[row] = validation
    if not scores:
        listed = "".join(f"\n       {name}: {reason}" for name, reason in excluded)
        raise InputError(f"there is no experiment to choose from; run some with `microseg sweep`{listed}")
    ranked = sorted(scores, key=lambda row: (-scores[row], row.name))
    test_scores = {method: ranked[0].metric(EVALUATION, f"{method}.mean_iou") for method in METHODS}
    return Choice(
        candidates=tuple((row.name, scores[row]) for row in ranked),
        test_scores={method: score for method, score in test_scores.items() if isinstance(score, float)},
        dataset=dataset_of(ranked[0]),
        excluded=tuple(excluded),
    )


def _unusable(row: Row, reference: Row, conditions: Mapping[str, Cell]) -> str:
    if row.state != FINISHED:
        return row.state
    expected = {key: reference.parameter(key) for key in DATA_KEYS} | dict(conditions)
    return "; ".join(
        f"{key} is {show(row.parameter(key))}, not {show(value)}"
        for key, value in expected.items()
        if row.parameter(key) != value
    )


def _training_data(row: Row) -> dict[str, object]:
    return {name: row.cells.get(name) for name in TRAINING_DATA}


def to_text(choice: Choice) -> str:
    """Return the chosen experiment, the candidates, and its test scores as Markdown."""
    name, validation = choice.candidates[0]
    lines = [
        f"# Chosen on the validation micrographs: {name}",
        "",
        f"Validation IoU {validation:.4f}, the highest of {len(choice.candidates)} experiments.",
        "",
        *markdown_table(
            ("experiment", "validation IoU"), [(one, f"{score:.4f}") for one, score in choice.candidates]
        ),
        f"Mean IoU of this experiment alone on {choice.dataset}: "
        + ", ".join(f"{method} {score:.4f}" for method, score in choice.test_scores.items())
        + ".",
        "",
    ]
    if choice.dataset.split != "test":
        lines += ["There is no test set: the choice used these micrographs, so the score is biased upwards.", ""]
    if choice.excluded:
        lines += ["Excluded:", "", *(f"- {one}: {reason}" for one, reason in choice.excluded), ""]
    return "\n".join(lines)
