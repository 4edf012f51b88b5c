"""The settings that suit one's own micrographs, by successive halving of candidates.

All are trained briefly, the better half of them longer and on more validation sets, and the best of those to their
end (Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016).
Every training is an experiment, so that the same command continues after an interruption.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from ruamel.yaml import YAML

from microseg.common.errors import InputError
from microseg.common.files import output_file
from microseg.common.params import Params
from microseg.common.params_file import PARAMS, flat_params, read_params
from microseg.common.tables import markdown_table
from microseg.experiments.dvc_access import experiment_reference, file_at, head, reproduce
from microseg.experiments.settings import Experiment, as_text, read_preset
from microseg.experiments.survey import Survey, survey
from microseg.experiments.sweep import jobs_at_a_time, run_sweep
from microseg.prediction.postprocessing import METHODS

log = logging.getLogger(__name__)

CANDIDATES = Path("presets/candidates")
IMAGES, MASKS, SPLIT = Path("data/raw/images"), Path("data/masks"), Path("data/split.csv")

ROUNDS = ((Fraction(1, 4), False), (Fraction(1, 2), True), (Fraction(1), True))
"""The fraction of its epochs that each round trains a candidate for, and whether it does so on every fold."""
TRAINED_WITH = 10
"""Training micrographs that `train.crops_per_micrograph` of a candidate is meant for."""
FEWEST_VALIDATION = 10
"""With fewer validation micrographs, candidates are cross-validated, as far as the sample allows."""
MOST_FOLDS = 3
SMALLEST_ISLAND = 3.0
"""The diameter, in pixels of the network's input, below which an island is a speck to it."""
CROP_STEP, SMALLEST_CROP = 32, 64
"""Crops too large for the micrographs are reduced to a multiple of the first, not below the second, in pixels of
the network's input: the encoders halve it five times."""

VALIDATION, EVALUATION, TRAINING = "metrics/train.json", "metrics/evaluation.json", "reports/training.json"
REPORT = "reports/evaluation/evaluation.json"


@dataclass(frozen=True, eq=False)
class Candidate:
    """Settings to try, by key of params.yaml."""

    name: str
    settings: Mapping[str, object]
    epochs: int


@dataclass(frozen=True)
class Trial:
    """A candidate that was trained for some epochs."""

    candidate: Candidate
    epochs: int
    experiments: tuple[Experiment, ...]
    """One for each validation fold."""
    iou: float
    """Mean validation IoU over the folds."""
    worst: float | None = None
    """The same under the perturbation that costs most; None where perturbations have no part in the choice."""

    @property
    def score(self) -> float:
        """What candidates are chosen by: the worst day at the microscope counts as much as this one.

        The mean over all perturbations would hide one that a network cannot bear at all, such as blur.
        """
        return self.iou if self.worst is None else fmean((self.iou, self.worst))


def tune(
    paths: Sequence[Path] | None, seconds: float, jobs: int, output: Path, *, robust: bool, dry_run: bool
) -> str:
    """Choose among candidates on the validation micrographs of params.yaml, and write the choice as a preset.

    Args:
        paths: the presets to choose from; None for those in CANDIDATES.
        seconds: the budget, which the first round may exceed.
        jobs: number of experiments at a time.
        output: the preset to write.
        robust: whether the worst of perturbations of the validation micrographs counts as much as none.
        dry_run: only say what would be tried.

    Returns:
        What was found, as Markdown.

    Raises:
        InputError: there is no candidate that could work, a preset is invalid, or an experiment failed.
    """
    chosen = sorted(CANDIDATES.glob("*.yaml")) if paths is None else list(paths)
    reproduce("rasterize_masks", "split")
    params = read_params(PARAMS)
    found = survey(IMAGES, MASKS, SPLIT, params)
    read = {path: read_candidate(path, found, PARAMS) for path in chosen}
    candidates = [one for one in read.values() if isinstance(one, Candidate)]
    excluded = [f"{path.stem}: {reason}" for path, reason in read.items() if isinstance(reason, str)]
    if not candidates:
        raise InputError(f"no candidate is left to try: {'; '.join(excluded) or 'there is none'}")
    folds = validation_folds(found)
    if dry_run:
        return _to_text(found, folds, robust, [], [one.name for one in candidates], excluded)
    jobs = jobs_at_a_time(jobs, len(candidates) * folds)
    rounds = halve(candidates, folds, PARAMS, partial(_run_all, jobs=jobs), seconds, jobs, robust=robust)
    text = _to_text(found, folds, robust, rounds, [], excluded)
    write_preset(output, rounds[-1][0].candidate.settings, text)
    return f"{text}\nWritten: {output}\n"


def _run_all(experiments: Sequence[Experiment], jobs: int) -> None:
    failed = run_sweep(experiments, jobs, dry_run=False)
    if failed:
        raise InputError(
            f"{', '.join(failed)} failed, see above; correct the cause, or leave the candidate out of "
            "--candidates, then run tune again"
        )


def _to_text(
    found: Survey,
    folds: int,
    robust: bool,
    rounds: Sequence[Sequence[Trial]],
    planned: Sequence[str],
    excluded: Sequence[str],
) -> str:
    """Return what the micrographs say, what was tried and what was chosen, as Markdown."""
    lines = ["# Settings for these micrographs", "", *(f"- {line}" for line in found.to_lines())]
    lines += [
        "",
        f"Cross-validated after the first round: {folds} parts of the sample are the validation set in turn."
        if folds > 1
        else "Chosen on the validation set.",
    ]
    if robust:
        lines += ["By the mean of the IoU on plain micrographs and under the perturbation that costs most."]
    lines += [f"To try: {', '.join(planned)}."] if planned else []
    lines += [f"Not tried: {reason}." for reason in excluded]
    if rounds:
        best = rounds[-1][0]
        columns = ["candidate", "epochs", "validation IoU", *(["worst perturbation", "mean"] if robust else [])]
        lines += ["", *markdown_table(columns, [_row(one) for trials in rounds for one in trials])[:-1]]
        scores = ", ".join(f"{method} {score:.4f}" for method, score in test_scores(best).items())
        what = "mean" if robust else "validation IoU"
        lines += ["", f"Chosen: {best.candidate.name}, the highest {what} of the last round."]
        if best.epochs < best.candidate.epochs:
            lines += [
                f"The budget allowed {best.epochs} of its {best.candidate.epochs} epochs; the preset has all."
            ]
        lines += [f"Mean IoU of this choice alone on the test set: {scores}."]
    return "\n".join(lines) + "\n"


def _row(trial: Trial) -> tuple[object, ...]:
    robust = () if trial.worst is None else (f"{trial.worst:.4f}", f"{trial.score:.4f}")
    return (trial.candidate.name, trial.epochs, f"{trial.iou:.4f}", *robust)


def write_preset(path: Path, settings: Mapping[str, object], comment: str) -> None:
    """Write settings as a preset with a comment before them."""
    content: dict[str, Any] = {}
    for key, value in settings.items():
        *sections, name = key.split(".")
        section = content
        for one in sections:
            section = section.setdefault(one, {})
        section[name] = value
    with output_file(path) as partial_path, partial_path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
        YAML().dump(content, file)


def read_candidate(path: Path, survey: Survey, params_path: Path) -> Candidate | str:
    """Return a candidate as it suits the micrographs, or why it cannot suit them.

    The number of crops is adapted to the number of training micrographs, and their size to that of the
    micrographs; where up and down differ, nothing is flipped upside down; where opening and closing would change
    the annotated masks, their radii are smaller.

    Raises:
        InputError: the file is not a preset, or params.yaml cannot take its values.
    """
    settings = read_preset(path)
    params = _with(settings, path, params_path)
    if params.train.crop_size is not None:
        crops = params.train.crops_per_micrograph * TRAINED_WITH / survey.train
        settings["train.crops_per_micrograph"] = max(1, round(crops))
        largest = int(min(survey.shape) / params.train.downsample)
        if largest < SMALLEST_CROP:
            return (
                f"at 1/{params.train.downsample:g} of the resolution the micrographs are {largest} pixels wide or "
                f"high, and a crop needs {SMALLEST_CROP}"
            )
        if params.train.crop_size > largest:
            settings["train.crop_size"] = largest // CROP_STEP * CROP_STEP
    if survey.has_up_and_down:
        given = {"train.augment.flips": params.train.augment.flips, "predict.tta": params.predict.tta}
        settings |= {key: "hflip" for key, flips in given.items() if flips == "d4"}
    for key in ("opening_radius", "closing_radius"):
        if getattr(params.postprocess, key) > survey.radius:
            settings[f"postprocess.{key}"] = survey.radius
    params = _with(settings, path, params_path)
    reduction = params.train.downsample
    if reduction > 1 and survey.island_diameter / reduction < SMALLEST_ISLAND:
        return (
            f"half of the foreground is in islands below {survey.island_diameter:.0f} pixels across, specks at "
            f"1/{reduction:g} of the resolution"
        )
    return Candidate(path.stem, settings, params.train.epochs)


def _with(settings: Mapping[str, object], path: Path, params_path: Path) -> Params:
    try:
        return read_params(params_path, settings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def validation_folds(survey: Survey) -> int:
    """Return how many validation sets to train each candidate for: one, or as many as make ten micrographs."""
    if survey.validation >= FEWEST_VALIDATION or not survey.can_rotate:
        return 1
    wanted = math.ceil(FEWEST_VALIDATION / survey.validation)
    possible = (survey.train + survey.validation) // survey.validation
    return max(1, min(wanted, possible, MOST_FOLDS))


def halve(
    candidates: Sequence[Candidate],
    folds: int,
    params_path: Path,
    run: Callable[[Sequence[Experiment]], None],
    seconds: float,
    jobs: int = 1,
    clock: Callable[[], float] = time.monotonic,
    *,
    robust: bool = False,
) -> list[list[Trial]]:
    """Train the candidates in rounds, each with the better half of the last one and more epochs.

    Args:
        candidates: at least one.
        folds: the number of validation sets.
        params_path: the parameter file.
        run: runs experiments, unless they exist.
        seconds: the budget. A round that would exceed it keeps fewer candidates, or is left out.
        jobs: number of experiments that `run` has at a time.
        clock: the time in seconds.
        robust: whether the worst of perturbations counts too.

    Returns:
        The trials of each round, by decreasing score; at least those of the first.
    """
    start, rounds, overhead = clock(), list[list[Trial]](), 0.0
    rates = dict.fromkeys(candidates, 0.0)
    remaining = list(candidates)
    for number, (share, every_fold) in enumerate(ROUNDS, start=1):
        used = folds if every_fold else 1
        left = seconds - (clock() - start)
        while remaining and overhead * used * sum(rates[one] * _epochs(one, share) for one in remaining) > left:
            remaining.pop()
        if not remaining:
            log.warning("the budget ends before another round; the choice is that of the last one")
            break
        if rounds and len(remaining) == 1 and share < 1:
            continue  # nothing is left to compare it with
        planned = {
            one: tuple(
                _experiment(one, _epochs(one, share), fold, folds, params_path, robust) for fold in range(used)
            )
            for one in remaining
        }
        log.info("round %d of %d: %s", number, len(ROUNDS), ", ".join(one.name for one in remaining))
        begun = clock()
        run([experiment for experiments in planned.values() for experiment in experiments])
        took = {one: sum(_read(each, TRAINING)["seconds"] for each in planned[one]) for one in remaining}
        rates |= {one: took[one] / (used * _epochs(one, share)) for one in remaining}
        # Experiments that existed took no time now.
        overhead = max((clock() - begun) / sum(took.values()), 1 / jobs)
        rounds.append(
            sorted((_trial(one, share, planned[one], robust) for one in remaining), key=lambda one: -one.score)
        )
        remaining = [trial.candidate for trial in rounds[-1][: math.ceil(len(remaining) / 2)]]
    return rounds


def _trial(candidate: Candidate, share: Fraction, experiments: tuple[Experiment, ...], robust: bool) -> Trial:
    iou, worst = fmean(float(_read(one, VALIDATION)["validation_iou"]) for one in experiments), None
    if robust:
        measured = [_read(one, REPORT)["robustness"] for one in experiments]
        iou = fmean(one["mean_iou"] for one in measured)
        worst = iou - fmean(one["worst_iou_drop"] for one in measured)
    text = "" if worst is None else f", {worst:.4f} under the worst perturbation"
    log.info("%s: validation IoU %.4f%s", candidate.name, iou, text)
    return Trial(candidate, _epochs(candidate, share), experiments, iou, worst)


def _epochs(candidate: Candidate, share: Fraction) -> int:
    return max(1, math.ceil(candidate.epochs * share))


def _experiment(
    candidate: Candidate, epochs: int, fold: int, folds: int, params_path: Path, robust: bool
) -> Experiment:
    settings = {**candidate.settings, "train.epochs": epochs, "split.validation_fold": fold}
    settings["evaluate.robustness"] = "validation" if robust else "none"
    overrides = tuple(f"{key}={as_text(value)}" for key, value in settings.items())
    name = f"tune-{'robust-' if robust else ''}{candidate.name}-e{epochs}" + (f"-v{fold}" if folds > 1 else "")
    return Experiment(name, overrides, flat_params(params_path, settings))


def _read(experiment: Experiment, file: str) -> dict[str, Any]:
    text = file_at(experiment_reference(head(), experiment.name), file)
    if text is None:
        raise InputError(
            f"{experiment.name}: has no {file}; run `dvc exp remove {experiment.name}` and then tune again"
        )
    content: dict[str, Any] = json.loads(text)
    return content


def test_scores(trial: Trial) -> dict[str, float]:
    """Return the mean IoU of a trial on the test set by method, over the validation folds."""
    measured = [_read(one, EVALUATION) for one in trial.experiments]
    return {method: fmean(one[method]["mean_iou"] for one in measured) for method in METHODS}
