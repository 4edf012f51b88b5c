"""Which candidates are tried, for how long, and what is chosen."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from microseg.common.errors import InputError
from microseg.common.params_file import read_params
from microseg.experiments import tuning
from microseg.experiments.settings import Experiment, read_preset
from microseg.experiments.survey import Survey
from microseg.experiments.tuning import Candidate, halve, read_candidate, tune, validation_folds, write_preset

from pipeline_files import ROOT

PARAMS = ROOT / "params.yaml"
CANDIDATES = sorted((ROOT / "presets/candidates").glob("*.yaml"))
SURVEY = Survey(
    train=10,
    validation=2,
    can_rotate=True,
    shape=(512, 640),
    foreground=0.1,
    island_diameter=20.0,
    grey_iou=0.5,
    has_up_and_down=False,
    radius=3,
)


class Runs:
    """Stands in for DVC: every experiment ends at once with a validation IoU by candidate and epochs."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores, self.epochs = scores, 0
        self.names: list[str] = []

    def __call__(self, experiments: Sequence[Experiment]) -> None:
        self.names += [one.name for one in experiments]
        self.epochs += sum(int(str(one.values["train.epochs"])) for one in experiments)

    def clock(self) -> float:
        """Return the time, if an epoch takes a second."""
        return self.epochs

    def read(self, experiment: Experiment, file: str) -> dict[str, float]:
        if file == tuning.TRAINING:
            return {"seconds": float(str(experiment.values["train.epochs"]))}
        fold = int(str(experiment.values["split.validation_fold"]))
        return {"validation_iou": self.scores[experiment.name.split("-")[1]] + fold / 100}


def _candidates(epochs: int, *names: str) -> list[Candidate]:
    return [Candidate(name, {"train.lr": 0.002}, epochs) for name in names]


def test_the_better_half_is_trained_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs({"a": 0.5, "b": 0.9, "c": 0.7, "d": 0.6})
    monkeypatch.setattr(tuning, "_read", runs.read)
    rounds = halve(_candidates(40, "a", "b", "c", "d"), 1, PARAMS, runs, 1000)
    assert runs.names == [
        *("tune-a-e10", "tune-b-e10", "tune-c-e10", "tune-d-e10"),
        *("tune-b-e20", "tune-c-e20"),
        "tune-b-e40",
    ]
    assert [trial.candidate.name for trial in rounds[0]] == ["b", "c", "d", "a"]
    assert (rounds[-1][0].candidate.name, rounds[-1][0].epochs) == ("b", 40)


def test_after_the_first_round_each_candidate_is_trained_on_every_validation_fold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = Runs({"a": 0.5, "b": 0.6, "c": 0.7})
    monkeypatch.setattr(tuning, "_read", runs.read)
    rounds = halve(_candidates(4, "a", "b", "c"), 3, PARAMS, runs, 1000)
    assert runs.names[:6] == [
        *("tune-a-e1-v0", "tune-b-e1-v0", "tune-c-e1-v0"),
        *("tune-c-e2-v0", "tune-c-e2-v1", "tune-c-e2-v2"),
    ]
    assert [trials[0].iou for trials in rounds] == pytest.approx([0.7, 0.71, 0.71])
    overrides = [one.overrides for one in rounds[1][0].experiments]
    assert overrides[1] == (
        *("train.lr=0.002", "train.epochs=2", "split.validation_fold=1"),
        "evaluate.robustness=none",
    )


def test_robust_prefers_the_better_mean_of_plain_micrographs_and_the_worst_perturbation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = Runs({})
    scores = {"a": (0.95, 0.35), "b": (0.90, 0.05)}

    def read(experiment: Experiment, file: str) -> dict[str, object]:
        if file != tuning.REPORT:
            return {"seconds": 1.0, "validation_iou": 0.5}
        plain, drop = scores[experiment.name.split("-")[2]]
        return {"robustness": {"mean_iou": plain, "worst_iou_drop": drop}}

    monkeypatch.setattr(tuning, "_read", read)
    rounds = halve(_candidates(4, "a", "b"), 1, PARAMS, runs, 1000, robust=True)
    best = rounds[-1][0]
    assert (best.candidate.name, best.iou, best.worst) == ("b", 0.90, pytest.approx(0.85))
    assert best.score == pytest.approx(0.875)
    assert runs.names == ["tune-robust-a-e1", "tune-robust-b-e1", "tune-robust-b-e4"]
    assert "evaluate.robustness=validation" in best.experiments[0].overrides
    monkeypatch.setattr(tuning, "test_scores", lambda _: {"sigmoid": 0.8})
    text = tuning._to_text(SURVEY, 1, True, rounds, [], [])
    assert "| b | 4 | 0.9000 | 0.8500 | 0.8750 |" in text
    assert "Chosen: b, the highest mean of the last round." in text


def test_a_round_beyond_the_budget_keeps_fewer_candidates_or_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs({"a": 0.5, "b": 0.9, "c": 0.7, "d": 0.6, "e": 0.4, "f": 0.3})
    monkeypatch.setattr(tuning, "_read", runs.read)
    # The first round takes 6 x 5 s, the second 10 s for each of three candidates: of those, two fit into 55 s.
    rounds = halve(_candidates(20, *runs.scores), 1, PARAMS, runs, 55, clock=runs.clock)
    assert [[trial.candidate.name for trial in trials] for trials in rounds] == [
        ["b", "c", "d", "a", "e", "f"],
        ["b", "c"],
    ]
    # A second round of one candidate compares it with none: it is trained to its end, or not at all.
    runs.epochs = 0
    assert [len(trials) for trials in halve(_candidates(20, "a", "b"), 1, PARAMS, runs, 30, clock=runs.clock)] == [
        2,
        1,
    ]
    runs.epochs = 0
    assert len(halve(_candidates(20, "a", "b"), 1, PARAMS, runs, 1, clock=runs.clock)) == 1


def test_several_experiments_at_a_time_take_less_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs({"a": 0.5, "b": 0.9, "c": 0.7, "d": 0.6})
    monkeypatch.setattr(tuning, "_read", runs.read)
    # Experiments that existed already took no time; two at a time take half of what their trainings took.
    assert [len(trials) for trials in halve(_candidates(20, *runs.scores), 1, PARAMS, runs, 19, 2, lambda: 0)] == [
        4,
        2,
        1,
    ]
    assert [len(trials) for trials in halve(_candidates(20, *runs.scores), 1, PARAMS, runs, 19, 1, lambda: 0)] == [
        4
    ]


def test_the_folds_of_a_single_candidate_are_trained_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = list[tuple[int, int]]()

    def run(experiments: Sequence[Experiment], jobs: int, *, dry_run: bool) -> list[str]:
        assert not dry_run
        ran.append((len(experiments), jobs))
        return []

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(tuning, "reproduce", lambda *_: None)
    monkeypatch.setattr(tuning, "survey", lambda *_: SURVEY)
    monkeypatch.setattr(tuning, "run_sweep", run)
    monkeypatch.setattr(tuning, "_read", Runs({"lite0_full": 0.8}).read)
    monkeypatch.setattr(tuning, "test_scores", lambda _: {"sigmoid": 0.8})
    only = [Path("presets/candidates/lite0_full.yaml")]
    tune(only, 1000, 3, tmp_path / "tuned.yaml", robust=False, dry_run=False)
    assert ran == [(1, 3), (3, 3)]


@pytest.mark.parametrize(
    ("train", "validation", "can_rotate", "folds"),
    [(40, 10, True, 1), (10, 2, True, 3), (2, 1, True, 3), (1, 1, True, 2), (10, 2, False, 1)],
)
def test_few_validation_micrographs_are_cross_validated(
    train: int, validation: int, can_rotate: bool, folds: int
) -> None:
    found = replace(SURVEY, train=train, validation=validation, can_rotate=can_rotate)
    assert validation_folds(found) == folds


@pytest.mark.parametrize("path", CANDIDATES, ids=lambda path: path.stem)
def test_candidates_suit_ten_micrographs_and_adapt_to_more(path: Path) -> None:
    few = read_candidate(path, replace(SURVEY, shape=(768, 1024), island_diameter=50.0), PARAMS)
    many = read_candidate(path, replace(SURVEY, train=20, shape=(768, 1024), island_diameter=50.0), PARAMS)
    assert isinstance(few, Candidate)
    assert isinstance(many, Candidate)
    assert few.settings["train.crops_per_micrograph"] == read_preset(path)["train.crops_per_micrograph"]
    assert int(str(many.settings["train.crops_per_micrograph"])) * 2 == few.settings["train.crops_per_micrograph"]


def test_where_up_and_down_differ_nothing_is_flipped_upside_down() -> None:
    path = ROOT / "presets/candidates/unet_full.yaml"
    candidate = read_candidate(path, replace(SURVEY, has_up_and_down=True), PARAMS)
    assert isinstance(candidate, Candidate)
    assert candidate.settings["train.augment.flips"] == candidate.settings["predict.tta"] == "hflip"


def test_opening_and_closing_leave_the_annotated_islands() -> None:
    path = ROOT / "presets/candidates/unet_full.yaml"
    kept, reduced = (read_candidate(path, replace(SURVEY, radius=radius), PARAMS) for radius in (3, 1))
    assert isinstance(kept, Candidate)
    assert isinstance(reduced, Candidate)
    assert dict(reduced.settings) == {
        **kept.settings,
        "postprocess.opening_radius": 1,
        "postprocess.closing_radius": 1,
    }


def test_what_cannot_work_is_not_tried_and_says_why() -> None:
    sixth = ROOT / "presets/candidates/lite0_sixth.yaml"
    assert read_candidate(sixth, replace(SURVEY, island_diameter=12.0), PARAMS) == (
        "half of the foreground is in islands below 12 pixels across, specks at 1/6 of the resolution"
    )
    # Nothing is finer than the full resolution, so it is tried whatever there is to find.
    full = ROOT / "presets/candidates/unet_full.yaml"
    assert isinstance(read_candidate(full, replace(SURVEY, island_diameter=1.0), PARAMS), Candidate)
    assert read_candidate(sixth, replace(SURVEY, shape=(300, 640), island_diameter=50.0), PARAMS) == (
        "at 1/6 of the resolution the micrographs are 50 pixels wide or high, and a crop needs 64"
    )


def test_crops_larger_than_the_micrographs_are_reduced() -> None:
    half, wide = (ROOT / "presets/candidates" / f"{name}.yaml" for name in ("lite0_half", "lite0_wide"))
    sizes = []
    for path in (half, wide):
        candidate = read_candidate(path, replace(SURVEY, shape=(484, 645)), PARAMS)
        assert isinstance(candidate, Candidate)
        sizes.append(candidate.settings["train.crop_size"])
    assert sizes == [224, 480]


def test_a_candidate_with_a_wrong_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  epochs: 0\n")
    with pytest.raises(InputError, match=r"mine\.yaml: .*train\.epochs"):
        read_candidate(path, SURVEY, PARAMS)


def test_the_preset_holds_the_settings_and_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "presets/tuned.yaml"
    settings = {"train.lr": 0.001, "train.augment.flips": "hflip", "predict.tta": "none", "train.crop_size": None}
    write_preset(path, settings, "# Settings\n\nChosen: a.\n")
    assert path.read_text().startswith("# # Settings\n#\n# Chosen: a.\n")
    assert read_preset(path) == settings
    assert json.dumps(read_params(PARAMS, read_preset(path)).train.lr) == "0.001"
