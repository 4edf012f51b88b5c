"""`microseg segment` as a command: results, one clear line for a mistake, and no output after Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from drawn_micrographs import write_disks, write_tiny_model
from project_copy import environment


def command(*arguments):
    return [sys.executable, "-m", "microseg.console.program", "segment", *map(str, arguments)]


def call(*arguments, cwd, **more):
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path):
    write_disks(tmp_path / "heat42", ["a.png", "b.tif", "c.jpg", "d.png", "e.png", "f.png"])
    write_tiny_model(tmp_path / "model")
    return tmp_path


def test_a_folder_and_a_model_are_enough(folder):
    done = call(
        "heat42",
        "--model",
        "model",
        "--output",
        "out",
        "--pixel-size",
        "50nm",
        "--crop-bottom",
        "auto",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("heat42: A_A = ")
    assert "n = 6 fields" in first
    assert last == "Written: out/report.html"
    assert len(pd.read_csv(folder / "out/fields.csv")) == 6
    assert {path.name for path in (folder / "out").iterdir()} == {
        *("fields.csv", "islands.csv", "labels", "masks", "overlays", "provenance.json", "report.html"),
        *("specimens.csv", "summary.json"),
    }


@pytest.mark.parametrize("place", ["heat42", "heat42/a.png/metrics.json"])
def test_metrics_that_cannot_be_written_are_refused_before_the_work(folder, place):
    before = sorted(folder.rglob("*"))
    done = call("heat42", "--model", "model", "--output", "out", "--metrics", place, cwd=folder)
    assert done.returncode == 1
    assert f"error: {place}: cannot be written" in done.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere", "--model", "model"], "error: nowhere: no such folder"),
        (["heat42", "--model", "model", "--pixel-size", "3 ells"], "error: --pixel-size: unknown unit 'ells'"),
        (["heat42", "--model", "none"], "error: --model none: no such folder"),
        (["heat42", "--model", "model", "--tile-size", "50"], "error: --tile-size: 50 is not a multiple of 16"),
    ],
)
def test_a_mistake_is_one_line_without_waiting_for_torch_and_leaves_nothing(folder, options, message):
    before = sorted(folder.rglob("*"))
    done = call(*options, "--output", "out", cwd=folder, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert any(line.startswith(message) for line in said)
    assert not any(line.endswith(" torch") for line in said)
    assert "Traceback" not in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_ctrl_c_leaves_no_output_and_the_same_command_with_resume_continues(folder):
    for number in range(120):
        os.link(folder / "heat42/a.png", folder / f"heat42/copy{number}.png")
    options = ["heat42", "--model", "model", "--output", "out"]
    with subprocess.Popen(
        command(*options), cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    ) as run:
        records = folder / ".out.partial/.work/records"
        while not list(records.glob("*.json")) and run.poll() is None:
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=120)
    assert run.returncode == 130, errors
    assert "interrupted; run the same command with --resume to continue" in errors
    assert not (folder / "out").exists()
    done = call(*options, "--resume", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "resuming: " in done.stderr
    assert len(pd.read_csv(folder / "out/fields.csv")) == 126


def test_an_option_that_was_renamed_is_refused_with_its_new_name(folder):
    done = call("heat42", "--model", "model", "--output", "out", "--symmetries", cwd=folder)
    assert done.returncode == 2
    assert "--symmetries is called --tta now" in done.stderr
