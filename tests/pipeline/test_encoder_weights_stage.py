"""The stage encoder_weights under DVC: its result travels to colleagues, and a refusal leaves nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from project_copy import commit, copy_project, environment, run, set_params, stages_run

WITHOUT_TORCH = """
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
assert "torch" not in sys.modules, "bringing weights imports torch"
"""
OUTPUT = "data/encoder_weights"
ARGUMENTS = ("stages/encoder_weights.py", "--folder", "data/weights", "--output", OUTPUT)


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A copy of this project in which no stage has run."""
    return copy_project(tmp_path / "project")


def test_a_colleague_gets_the_weights_without_a_network(untrained: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"weights")
    run("dvc", "add", "../mine.pth", "--out", "data/weights/mine.pth", cwd=untrained)
    set_params(untrained, {"train.encoder": "resnet18", "train.encoder_weights": "data/weights/mine.pth"})
    run("dvc", "repro", "--single-item", "encoder_weights", cwd=untrained)
    run("dvc", "remote", "add", "--default", "team", str(tmp_path / "remote"), cwd=untrained)
    commit(untrained, "our weights")
    assert "data/weights/digests.csv" in run("git", "ls-files", cwd=untrained).stdout
    run("dvc", "push", "data/weights/mine.pth", OUTPUT, cwd=untrained)

    run("git", "clone", "--quiet", str(untrained), "colleague", cwd=tmp_path)
    colleague = tmp_path / "colleague"
    run("dvc", "pull", "data/weights/mine.pth", OUTPUT, cwd=colleague)
    assert (colleague / OUTPUT / "weights").read_bytes() == b"weights"
    done = run("dvc", "repro", "--single-item", "encoder_weights", cwd=colleague)
    assert stages_run(done.stdout) == []


def test_new_words_about_weights_run_nothing_again(untrained: Path) -> None:
    run("dvc", "repro", "--single-item", "encoder_weights", cwd=untrained)
    for name in ("README.md", "digests.csv"):
        with (untrained / "data" / "weights" / name).open("a") as file:
            file.write("\n")
    done = run("dvc", "repro", "--single-item", "encoder_weights", cwd=untrained)
    assert stages_run(done.stdout) == []


def test_what_is_refused_leaves_nothing(untrained: Path) -> None:
    set_params(untrained, {"train.encoder": "resnet18", "train.encoder_weights": "imagent"})
    done = run(sys.executable, *ARGUMENTS, cwd=untrained, check=False)
    assert done.returncode == 1
    assert "error: params.yaml: train.encoder_weights: 'imagent' is neither one of none, imagenet" in done.stdout
    assert "Traceback" not in done.stdout
    assert [path.name for path in (untrained / "data").iterdir() if "encoder" in path.name] == []


def test_torch_is_not_needed(untrained: Path) -> None:
    values = {"train.encoder": "timm-tf_efficientnet_lite0", "train.encoder_weights": "imagenet"}
    set_params(untrained, values)
    command = [sys.executable, "-c", WITHOUT_TORCH, *ARGUMENTS]
    done = subprocess.run(command, cwd=untrained, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (untrained / OUTPUT / "weights").stat().st_size == 18_826_032
