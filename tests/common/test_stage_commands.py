"""Stage scripts as commands: immediate help, one clear line for a mistake, no partial outputs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_files import ROOT, STAGES, script_of
from project_copy import environment, set_params

HELP_WITHOUT_TORCH = """
import os, runpy, sys
sys.argv = [sys.argv[1], "--help"]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert "torch" not in sys.modules, "asking for help imports torch"
"""


def call(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    for part in parts:
        assert part in errors[0]


@pytest.mark.parametrize("stage", STAGES)
def test_help_comes_at_once_and_names_every_path(stage: str):
    done = call("-c", HELP_WITHOUT_TORCH, script_of(stage), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for word in STAGES[stage]["cmd"].split():
        if word.startswith("--"):
            assert word in done.stdout


def test_a_mistake_in_the_parameters(tmp_path: Path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("  epochs: ", "  epoch: "), encoding="utf-8")
    options = [
        word for name in ("polygons", "raw", "split", "metrics", "findings") for word in (f"--{name}", name)
    ]
    done = call(script_of("split"), *options, cwd=tmp_path)
    assert done.returncode == 1
    assert "params.yaml: train.epochs: missing key" in done.stderr
    assert "params.yaml: train.epoch: unknown key; did you mean train.epochs?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_folder_leaves_nothing_behind(tmp_path: Path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("source: synthetic", "source: folder"), encoding="utf-8")
    done = call(script_of("download"), "--folder", "nowhere", "--output", "data/raw", cwd=tmp_path)
    assert_refused(done, "nowhere", "no such folder")
    assert not list((tmp_path / "data").iterdir())


def test_a_missing_prediction_keeps_the_last_good_evaluation(project: Path):
    shutil.rmtree(project / "data" / "predictions" / "sigmoid")
    before = (project / "metrics" / "evaluation.json").read_bytes()
    words = STAGES["evaluate"]["cmd"].split()[1:]
    done = call(*words, cwd=project)
    assert_refused(done, "data/predictions/sigmoid/IMG_", "no such image")
    assert (project / "metrics" / "evaluation.json").read_bytes() == before
    assert (project / "plots" / "evaluation" / "iou_distribution.png").exists()


def test_a_split_that_asks_for_too_much_says_what_there_is(project: Path):
    set_params(project, {"split.sample_size": 1700})
    done = call(*STAGES["split"]["cmd"].split()[1:], cwd=project)
    assert_refused(done, "split.sample_size asks for 1700 micrographs, but there are 6")


FULL_DISK = """
from microseg.common.command import run_stage

def main(arguments, params):
    raise OSError(28, "No space left on device", str(arguments.output))

run_stage(main, description="", arguments={"output": ""})
"""


def test_a_full_disk_ends_a_stage_with_one_line(tmp_path: Path):
    done = call("-c", FULL_DISK, "--output", "model", "--params", ROOT / "params.yaml", cwd=tmp_path)
    assert_refused(done, "the disk is full", "'model'", "free some space")
