"""Checkpoints of all trainings stay within a limit, and one process at a time trains in a folder."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from microseg.common.errors import InputError
from microseg.training.checkpoints import LIMIT_VARIABLE, evict, exclusive_lock, remove_all

from tiny_training import ROOT


def fill(root: Path, name: str, last_use: float, size: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "epoch_00001.pt").write_bytes(bytes(size))
    os.utime(folder / "epoch_00001.pt", (last_use, last_use))
    return folder


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


@pytest.mark.parametrize(
    ("limit_gb", "left"),
    [("0.0041", ["a", "b", "c", "d"]), ("0.0031", ["a", "c", "d"]), ("0.0021", ["c", "d"]), ("0", ["c"])],
)
def test_the_least_recently_used_folders_are_evicted_first(tmp_path, monkeypatch, limit_gb, left):
    monkeypatch.setenv(LIMIT_VARIABLE, limit_gb)
    for name, last_use in (("a", 200), ("b", 100), ("c", 50), ("d", 300)):
        fill(tmp_path, name, last_use)
    evict(current=tmp_path / "c")
    assert names(tmp_path) == left


def test_below_the_limit_nothing_is_evicted(tmp_path):
    for name in "ab":
        fill(tmp_path, name, 100)
    evict(current=tmp_path / "a")
    assert names(tmp_path) == ["a", "b"]


def hold(folder: Path, started) -> None:
    with exclusive_lock(folder):
        started.set()
        time.sleep(600)


@contextmanager
def holder(folder: Path):
    """Start a process that locks `folder`; yield it, and the event that it has the lock."""
    context = multiprocessing.get_context("forkserver")
    started = context.Event()
    process = context.Process(target=hold, args=(folder, started))
    process.start()
    try:
        yield process, started
    finally:
        process.kill()
        process.join()


def test_a_folder_in_which_another_process_trains_stays(tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    used, current = fill(tmp_path, "used", 100), fill(tmp_path, "current", 200)
    with holder(used) as (_, started):
        assert started.wait(60)
        evict(current)
        assert remove_all(tmp_path) == 1_000_000
    assert names(tmp_path) == ["used"]


def test_one_process_at_a_time_has_the_lock_and_frees_it_when_it_is_killed(tmp_path):
    with holder(tmp_path / "a") as (first, first_started):
        assert first_started.wait(60)
        with holder(tmp_path / "a") as (_, second_started):
            assert not second_started.wait(1)
            first.kill()
            assert second_started.wait(60)


HOLDER_WITH_A_WORKER = """
import os, sys, time
from pathlib import Path
from microseg.training.checkpoints import exclusive_lock

with exclusive_lock(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)
        time.sleep(20)
    time.sleep(600)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing can be forked here")
def test_the_lock_of_a_killed_process_is_free_at_once_even_while_its_forked_worker_runs(tmp_path, caplog):
    # The worker itself prints that it runs: by then its copy of the lock is closed, however busy the machine is.
    command = [sys.executable, "-c", HOLDER_WITH_A_WORKER, tmp_path / "a"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as training:
        worker = psutil.Process(int(training.stdout.readline()))
        training.kill()
        training.wait()
        try:
            with caplog.at_level("INFO"), exclusive_lock(tmp_path / "a"):
                assert worker.is_running()
            assert "waiting" not in caplog.text
        finally:
            worker.kill()


def test_waiting_for_another_process_is_logged_and_ends_with_its_lock(tmp_path, caplog):
    with holder(tmp_path / "a") as (first, started):
        assert started.wait(60)
        threading.Timer(0.2, first.kill).start()
        with caplog.at_level("INFO"), exclusive_lock(tmp_path / "a"):
            assert "another process is training the same network" in caplog.text


def test_files_and_folders_that_disappear_while_they_are_counted_take_no_space(tmp_path, monkeypatch):
    current, old = fill(tmp_path, "current", 300), fill(tmp_path, "old", 100)
    disappearing, shrinking = fill(tmp_path, "disappearing", 100), fill(tmp_path, "shrinking", 200)
    (shrinking / "epoch_00002.pt").write_bytes(bytes(5_000_000))
    monkeypatch.setenv(LIMIT_VARIABLE, "0.0021")
    listed = Path.iterdir

    def list_then_change(folder: Path) -> Iterator[Path]:
        paths = list(listed(folder))
        if folder == tmp_path:
            shutil.rmtree(disappearing)
        if folder == shrinking:
            (shrinking / "epoch_00002.pt").rename(tmp_path / "elsewhere")
        return iter(paths)

    monkeypatch.setattr(Path, "iterdir", list_then_change)
    evict(current)
    monkeypatch.undo()
    # One of the remaining 3 MB is evicted; the list would have shown 8 MB.
    assert not old.exists()
    assert names(tmp_path) == ["current", "shrinking"]


def test_a_limit_that_is_not_a_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "plenty")
    with pytest.raises(InputError, match="MICROSEG_CHECKPOINTS_GB is 'plenty'"):
        evict(fill(tmp_path, "a", 100))


def test_the_command_empties_the_folder(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    fill(tmp_path / "checkpoints", "a", 100)
    environment = os.environ | {"MICROSEG_HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "microseg.training.checkpoints"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "1.0 MB of checkpoints removed" in done.stdout
    assert names(tmp_path / "checkpoints") == []
