"""The experiment to go on with: chosen on the validation micrographs, so that the test score is still unseen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from microseg.common.errors import InputError
from microseg.common.params import PARAMETER_KEYS
from microseg.experiments.comparison import EVALUATION, MeasuredOn, measured_on, show
from microseg.experiments.dvc_access import FINISHED, Cell, Row
from microseg.prediction.postprocessing import METHODS

TRAINING = "metrics/train.json"
DATA_KEYS = tuple(key for key in PARAMETER_KEYS if key.split(".")[0] in ("seed", "download", "parse_csv", "split"))
"""Parameters that decide which micrographs train, validate and test; validation scores compare where all agree."""


@dataclass(frozen=True)
class Choice:
    """The experiments that could be chosen, by falling validation IoU, and why the others could not."""

    candidates: tuple[tuple[str, float], ...]
    """Name and validation IoU of each, at least one; the first is the choice."""
    test_scores: Mapping[str, float]
    """The mean IoU of the choice, and of it alone, for each method."""
    measured_on: MeasuredOn
    left_out: tuple[tuple[str, str], ...]


def choose(rows: Sequence[Row], conditions: Mapping[str, Cell]) -> Choice:
    """Choose the experiment with the highest validation IoU among those with the data of the workspace.

    Args:
        rows: the table of experiments, the workspace first.
        conditions: values of parameters that take the place of those of the workspace.

    Raises:
        InputError: there is no experiment to choose from.
    """
    scores: dict[Row, float] = {}
    left_out = []
    for row in (one for one in rows if one.name):
        reason = _unusable(row, rows[0], conditions)
        validation = row.metric(TRAINING, "validation_iou")
        if reason or not isinstance(validation, float):
            left_out.append((row.name, reason or "no validation score"))
        else:
            scores[row] = validation
    if not scores:
        listed = "".join(f"\n       {name}: {reason}" for name, reason in left_out)
        raise InputError(f"there is no experiment to choose from; run some with `microseg sweep`{listed}")
    ranked = sorted(scores, key=lambda row: (-scores[row], row.name))
    test_scores = {method: ranked[0].metric(EVALUATION, f"{method}.mean_iou") for method in METHODS}
    return Choice(
        candidates=tuple((row.name, scores[row]) for row in ranked),
        test_scores={method: score for method, score in test_scores.items() if isinstance(score, float)},
        measured_on=measured_on(ranked[0]),
        left_out=tuple(left_out),
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


def to_text(choice: Choice) -> str:
    """Return the choice, what it was chosen from, and its test scores as Markdown."""
    name, validation = choice.candidates[0]
    lines = [
        f"# Chosen on the validation micrographs: {name}",
        "",
        f"Validation IoU {validation:.4f}, the highest of {len(choice.candidates)} experiments.",
        "",
        "| experiment | validation IoU |",
        "|---|---|",
        *(f"| {one} | {score:.4f} |" for one, score in choice.candidates),
        "",
        f"Measured on {choice.measured_on}, of this experiment alone: "
        + ", ".join(f"{method} {score:.4f}" for method, score in choice.test_scores.items())
        + ".",
        "",
    ]
    if choice.measured_on.split != "test":
        lines += ["There is no test set: these micrographs were used for choosing, so this score flatters.", ""]
    if choice.left_out:
        lines += ["Left out:", "", *(f"- {one}: {reason}" for one, reason in choice.left_out), ""]
    return "\n".join(lines)
