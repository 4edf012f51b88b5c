"""The whole pipeline by `dvc repro` on a small dataset: complete, portable, repeatable, and lazy."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from microseg.common.randomness import generator

from pipeline_files import STAGES
from project_copy import environment, outputs, run, set_params, stages_run


def test_every_stage_leaves_its_outputs(finished: Path):
    split = list(csv.DictReader((finished / "data" / "split.csv").open()))
    measured = [row["image"] for row in split if row["split"] == "test"]
    assert len(measured) == 2
    for folder in ("logits", "predictions/sigmoid", "predictions/morphology"):
        found = {path.stem for path in (finished / "data" / folder).iterdir() if path.name != "settings.json"}
        assert found == {Path(name).stem for name in measured}
    for image in measured:
        shape = np.asarray(Image.open(finished / "data" / "raw" / "images" / image)).shape
        logits = np.load(finished / "data" / "logits" / Path(image).with_suffix(".npy"))
        assert (logits.shape, logits.dtype) == (shape, np.float16)
        for folder in ("masks", "predictions/sigmoid", "predictions/morphology"):
            mask = np.asarray(Image.open(finished / "data" / folder / image))
            assert mask.shape == shape
            assert set(np.unique(mask)) <= {0, 255}
    evaluation = json.loads((finished / "reports" / "evaluation" / "evaluation.json").read_text())
    assert evaluation["dataset"]["source"] == "synthetic"
    assert evaluation["dataset"]["split"] == "test"
    card = json.loads((finished / "models" / "model.json").read_text())
    assert evaluation["model"]["environment"] == card["environment"]
    assert card["weights_sha256"].startswith(evaluation["model"]["weights"])
    assert evaluation["dataset"]["images"] == 2


def test_measured_iou_agrees_with_the_masks_on_disk(finished: Path):
    for row in csv.DictReader((finished / "reports" / "evaluation" / "micrographs.csv").open()):
        truth = np.asarray(Image.open(finished / "data" / "masks" / row["image"])) > 0
        prediction = np.asarray(Image.open(finished / "data" / "predictions" / row["method"] / row["image"])) > 0
        union = (truth | prediction).sum()
        assert float(row["iou"]) == pytest.approx((truth & prediction).sum() / union if union else 1.0)


def test_no_artefact_holds_an_absolute_path(finished: Path):
    for name, content in outputs(finished).items():
        assert str(finished).encode() not in content, name
    assert str(finished) not in (finished / "dvc.lock").read_text()


def test_git_is_left_clean_and_holds_no_data(finished: Path):
    assert not run("git", "status", "--porcelain", cwd=finished).stdout
    tracked = run("git", "ls-files", cwd=finished).stdout.split()
    assert not [name for name in tracked if name.endswith((".npy", ".pt")) or name.startswith("data/raw")]


def test_a_second_run_does_nothing(project: Path):
    done = run("dvc", "repro", cwd=project)
    assert not stages_run(done.stdout)
    assert "up to date" in done.stdout


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("evaluate.examples", 1, ["evaluate"]),
        ("train.pixel_size_um", 0.05, ["train", "predict", "evaluate"]),
        ("postprocess.opening_radius", 1, ["postprocess", "evaluate"]),
        ("split.sample_size", 4, ["split", "train", "predict", "postprocess", "evaluate"]),
    ],
)
def test_only_what_a_parameter_changes_runs_again(
    project: Path, parameter: str, value: float, expected: list[str]
):
    set_params(project, {parameter: value})
    assert stages_run(run("dvc", "repro", cwd=project).stdout) == expected


def test_an_edit_that_cannot_change_the_weights_finds_the_finished_training(finished: Path, project: Path):
    report = project / "src" / "microseg" / "training" / "records.py"
    report.write_text(report.read_text() + "\n# What is reported of a training changes no weight.\n")
    output = run("dvc", "repro", cwd=project).stdout
    assert stages_run(output) == ["train"]
    assert "resuming from the checkpoint of epoch 2" in output
    assert outputs(project) == outputs(finished)


def test_the_same_parameters_give_the_same_bytes(finished: Path, project: Path):
    first = outputs(finished)
    run("dvc", "repro", "--force", "--no-run-cache", cwd=project, MICROSEG_HOME=str(project / "fresh"))
    assert outputs(project) == first


def runs_script(dvc: int) -> bool:
    """Say whether a DVC command runs the script of a stage at the moment."""
    found = False
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(dvc).children(recursive=True):
            found |= child.status() != psutil.STATUS_ZOMBIE and any("stages/" in word for word in child.cmdline())
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_pipeline_killed_in_any_stage_ends_in_the_same_result(finished: Path, project: Path, stage: str):
    process = subprocess.Popen(
        ("dvc", "repro", "--force", "--single-item", stage),
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("> "):  # DVC shows the command it is about to start
            break
    while not runs_script(process.pid) and process.poll() is None:
        time.sleep(0.005)
    end = time.monotonic() + generator(0, "kill", stage).uniform(0, 1.5)
    while time.monotonic() < end and runs_script(process.pid):
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
        # Only while the stage runs: DVC rewrites dvc.lock and its own locks in place, and every later command
        # refuses half of one. Stopped, it cannot begin to between the question and the kill.
        process.send_signal(signal.SIGSTOP)
        os.killpg(process.pid, signal.SIGKILL if runs_script(process.pid) else signal.SIGCONT)
    process.communicate()
    run("dvc", "repro", cwd=project)
    assert outputs(project) == outputs(finished)
