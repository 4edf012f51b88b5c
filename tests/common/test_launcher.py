"""MICROSEG_LAUNCHER: a stage lets another program start it on every device."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline_files import ROOT
from project_copy import environment

STAGE = """
import json, os, sys, time
from pathlib import Path
from microseg.common.command import run_stage

def main(arguments, params):
    with arguments.output.open("a") as file:
        file.write(json.dumps([os.getpid(), os.environ.get("MICROSEG_LAUNCHED"), params.seed]) + "\\n")
    if os.environ.get("TEST_SLEEPS"):
        time.sleep(60)

if __name__ == "__main__":
    run_stage(main, "A stage.", {"output": "where it says that it ran"}, on_every_device=True)
"""
LAUNCHER = """
import json, subprocess, sys
record, label, times, *command = sys.argv[1:]
open(record, "w").write(json.dumps([label, command]))
processes = [subprocess.Popen(command) for _ in range(int(times))]
sys.exit(max(process.wait() for process in processes))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a space in its name that holds a stage, a launcher and the parameters."""
    folder = tmp_path / "of a user"
    folder.mkdir()
    (folder / "stage.py").write_text(STAGE, encoding="utf-8")
    (folder / "launcher.py").write_text(LAUNCHER, encoding="utf-8")
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


def launcher(folder: Path, times: int) -> str:
    return shlex.join([sys.executable, str(folder / "launcher.py"), "record.json", "two words", str(times)])


def variables(**more: str) -> dict[str, str]:
    return environment(PYTHONPATH=str(ROOT / "src"), **more)


def run_stage(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "stage.py", "--output", "ran.jsonl"]
    return subprocess.run(command, cwd=folder, env=variables(**more), capture_output=True, text=True, check=False)


def ran(folder: Path) -> list[list[object]]:
    return [json.loads(line) for line in (folder / "ran.jsonl").read_text().splitlines()]


def test_without_a_launcher_the_stage_runs_once_and_here(folder: Path):
    assert run_stage(folder, MICROSEG_LAUNCHER="").returncode == 0
    assert [launched for _, launched, _ in ran(folder)] == [None]


def test_a_launcher_with_arguments_and_quotes_is_split_here_and_not_by_a_shell(folder: Path):
    done = run_stage(folder, MICROSEG_LAUNCHER=launcher(folder, times=2))
    assert done.returncode == 0, done.stderr
    label, command = json.loads((folder / "record.json").read_text())
    assert label == "two words"
    assert command == [sys.executable, "stage.py", "--output", "ran.jsonl"]
    assert [launched for _, launched, _ in ran(folder)] == ["1", "1"]


def test_the_stage_ends_as_its_launcher_ends(folder: Path):
    failing = shlex.join([sys.executable, "-c", "import sys; sys.exit(3)"])
    assert run_stage(folder, MICROSEG_LAUNCHER=failing).returncode == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no-such-program --tasks 2", "no-such-program cannot be started"),
        ("'srun --tasks 2", "its quotes do not match"),
    ],
)
def test_a_launcher_that_cannot_be_started_is_refused_in_one_line(folder: Path, text: str, reason: str):
    done = run_stage(folder, MICROSEG_LAUNCHER=text)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: MICROSEG_LAUNCHER: {reason}")
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "ran.jsonl").exists()


DVC = """
import subprocess, sys
subprocess.Popen([sys.executable, "stage.py", "--output", "ran.jsonl"]).wait()
"""


def descendants(process: subprocess.Popen[bytes], folder: Path) -> list[psutil.Process]:
    """Return all processes below `process` once the stage has run in `folder`."""
    while not (folder / "ran.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.05)
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not report that a parent is gone")
@pytest.mark.parametrize("end", ["SIGKILL of DVC", "SIGTERM of the stage"])
def test_nothing_that_was_launched_outlives_dvc_or_the_stage(folder: Path, end: str):
    more = {"MICROSEG_LAUNCHER": launcher(folder, times=1), "TEST_SLEEPS": "1", "DVC_STAGE": "train"}
    dvc = subprocess.Popen([sys.executable, "-c", DVC], cwd=folder, env=variables(**more))
    processes = descendants(dvc, folder)
    assert len(processes) == 3  # the stage, its launcher, and the stage as it was launched
    if end == "SIGKILL of DVC":
        os.kill(dvc.pid, signal.SIGKILL)
    else:
        processes[0].send_signal(signal.SIGTERM)
    dvc.wait(timeout=60)
    _, alive = psutil.wait_procs(processes, timeout=30)
    for process in alive:
        process.kill()
    assert alive == []
