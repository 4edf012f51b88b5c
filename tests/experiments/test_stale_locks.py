"""What killed DVC commands leave is removed, and a dvc.lock put back, unless DVC is running in the project."""

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


LOCK_FILE = """schema: '2.0'
stages:
  toy:
    cmd: python toy.py
    outs:
    - path: toy.txt
      hash: md5
      md5: {digest}
      size: 1
"""
COMMITTED = LOCK_FILE.format(digest="a" * 32)
CUT_SHORT = ["", "schema: '2.0'\nstages:\n", COMMITTED[: COMMITTED.index("size") + 4], COMMITTED[:60], "\0" * 100]


@pytest.mark.parametrize("name", ["dvc.lock", "segment/dvc.lock"])
def test_a_lock_file_that_was_cut_short_is_put_back_as_it_is_committed(
    project: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    lock = project / name
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(COMMITTED)
    run("git", "init", "--quiet", cwd=project)
    run("git", "add", name, cwd=project)
    run("git", "-c", "user.name=a", "-c", "user.email=a", "commit", "--quiet", "-m", "toy", cwd=project)
    for content in CUT_SHORT:
        lock.write_text(content)
        assert lock in clear_stale_locks(project)
        assert lock.read_text() == COMMITTED
        assert f"{name} was cut short by a killed DVC command; put back as it is committed" in caplog.text
    changed = COMMITTED.replace("toy", "changed")
    lock.write_text(changed)
    assert clear_stale_locks(project) == []
    assert lock.read_text() == changed


def test_a_lock_file_with_the_conflicts_of_a_merge_is_left_to_the_user(project: Path) -> None:
    (project / "dvc.lock").write_text(f"<<<<<<< HEAD\n{COMMITTED}=======\n>>>>>>> other\n")
    assert project / "dvc.lock" not in clear_stale_locks(project)


def test_a_lock_file_that_no_commit_has_is_removed_if_it_was_cut_short(project: Path) -> None:
    (project / "dvc.lock").write_text("")
    assert project / "dvc.lock" in clear_stale_locks(project)
    assert not (project / "dvc.lock").exists()


def test_a_lock_file_is_left_alone_while_dvc_writes_it(project: Path, tmp_path: Path) -> None:
    (project / "dvc.lock").write_text("")
    program = tmp_path / "dvc"
    program.write_text("input()")
    with subprocess.Popen([sys.executable, program, "repro"], cwd=project, stdin=subprocess.PIPE) as dvc:
        wait_for(lambda: str(program) in psutil.Process(dvc.pid).cmdline())
        assert clear_stale_locks(project) == []
        assert (project / "dvc.lock").read_text() == ""
