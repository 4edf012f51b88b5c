"""Stale locks and copies of killed DVC commands are removed, unless DVC is running in the project."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from microseg.experiments.stale_locks import clear_stale_locks

from project_copy import run
from toy_project import toy_environment, wait_for

LOCK = Path(".dvc/tmp/rwlock")
COPY = Path(".dvc/tmp/exps/standalone/tmpabc")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / COPY).mkdir(parents=True)
    (project / COPY / "params.yaml").touch()
    (project / ".dvc" / "config").touch()
    return project


@pytest.mark.parametrize("content", ["", '{"write": {', "[]"])
@pytest.mark.parametrize("name", [".dvc/tmp/rwlock", ".dvc/tmp/exps/rwlock"])
def test_an_unreadable_lock_and_the_copy_of_an_experiment_are_removed(
    project: Path, name: str, content: str
) -> None:
    (project / name).write_text(content)
    assert clear_stale_locks(project) == [project / name, project / COPY]
    assert not (project / name).exists()
    assert not (project / COPY).exists()
    assert clear_stale_locks(project) == []


def test_a_readable_lock_stays(project: Path) -> None:
    (project / LOCK).write_text('{"write": {}, "read": {}}')
    assert clear_stale_locks(project) == [project / COPY]
    assert (project / LOCK).exists()


def test_nothing_is_removed_while_dvc_runs_in_the_project_or_in_a_copy_of_it(
    project: Path, tmp_path: Path
) -> None:
    (project / LOCK).touch()
    program = tmp_path / "dvc"
    program.write_text("input()")
    with subprocess.Popen([sys.executable, program, "repro"], cwd=project / COPY, stdin=subprocess.PIPE) as dvc:
        wait_for(lambda: str(program) in psutil.Process(dvc.pid).cmdline())
        assert clear_stale_locks(project) == []
        assert (project / LOCK).exists()
    assert clear_stale_locks(project) == [project / LOCK, project / COPY]


def test_the_command_logs_what_it_removes(project: Path) -> None:
    (project / LOCK).touch()
    command = [sys.executable, "-m", "microseg.experiments.stale_locks"]
    output = run(*command, cwd=project, **toy_environment(project)).stdout
    assert output.splitlines() == [
        f"removed {name}, left behind by a killed DVC command" for name in (LOCK.as_posix(), COPY.as_posix())
    ]
