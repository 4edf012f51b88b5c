"""Running one experiment: `dvc exp run --temp`, which works in a copy of the project beside the workspace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock

from microseg.common.files import project_root
from microseg.experiments.dvc_access import FINISHED, PAUSES, environment, finished_names, is_locked, last_error
from microseg.experiments.stale_locks import SINGLE_EXPERIMENT, dvc_processes

EXISTS, FAILED, INTERRUPTED = "already exists", "failed", "interrupted"
"""States of an experiment beside FINISHED; INTERRUPTED: the sweep was stopped before the experiment ended."""

STARTED = "Reproducing experiment"
"""DVC prints this once its copy of the project is complete."""
POLL_SECONDS = 0.2
SECONDS_TO_TERMINATE = 30.0


@dataclass(frozen=True)
class Outcome:
    """The result of running an experiment."""

    name: str
    state: str
    """EXISTS, FINISHED, FAILED or INTERRUPTED."""
    reason: str = ""
    """Why it failed, and where its log is."""


def run_experiment(
    name: str,
    overrides: Sequence[str],
    commit: str,
    stopped: Callable[[], bool],
    variables: Mapping[str, str | None],
) -> Outcome:
    """Run an experiment of the current commit, unless it exists already.

    If it is running in this project, as after a sweep that was killed, wait for it. While another command locks
    the project, try again for a minute.

    Args:
        name: the name of the experiment.
        overrides: the values given to `dvc exp run -S`, such as "train.epochs=5".
        commit: the current commit.
        stopped: whether to end the experiment before it is complete.
        variables: environment variables to set, or with None to unset.
    """
    settings = [part for override in overrides for part in ("--set-param", override)]
    command = [sys.executable, "-m", SINGLE_EXPERIMENT, "exp", "run", "--temp", "--name", name, *settings]
    log = sweeps_folder() / f"{name}.log"
    while not stopped() and _is_running(name):
        time.sleep(POLL_SECONDS)
    if name in finished_names(commit):
        return Outcome(name, EXISTS)
    pauses = iter(PAUSES)
    while not stopped():
        _run_command(command, log, stopped, variables)
        # Not by DVC's exit status: it also fails where it cannot lock the project again in the end.
        if name in finished_names(commit):
            return Outcome(name, FINISHED)
        output = _read_log(log)
        pause = next(pauses, None) if STARTED not in output and is_locked(output) else None
        if pause is None and not stopped():
            return Outcome(name, FAILED, f"{last_error(output)}; its log is {log}")
        end = time.monotonic() + (pause or 0)
        while time.monotonic() < end and not stopped():
            time.sleep(POLL_SECONDS)
    return Outcome(name, INTERRUPTED)


def _is_running(name: str) -> bool:
    return any({"exp", "run", "--name", name} <= set(line) for line in dvc_processes(project_root()))


def _run_command(
    command: Sequence[str], log: Path, stopped: Callable[[], bool], variables: Mapping[str, str | None]
) -> None:
    """Run a command until it ends or `stopped`, with its output in the file `log`."""
    with log.open("wb") as output:
        with start_lock():
            process = subprocess.Popen(
                command,
                env=environment({"PYTHONUNBUFFERED": "1", **variables}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches this process alone, which lets an experiment start before terminating it.
                start_new_session=True,
            )
            while process.poll() is None and STARTED not in _read_log(log):
                time.sleep(POLL_SECONDS)
        while process.poll() is None:
            if stopped():
                _terminate(process)
            time.sleep(POLL_SECONDS)


def _read_log(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """Terminate a DVC command and its children as Ctrl-C would, so that it removes its copy of the project."""
    dvc = psutil.Process(process.pid)
    processes = [*dvc.children(recursive=True), dvc]
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
    for one in psutil.wait_procs(processes, timeout=SECONDS_TO_TERMINATE)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def start_lock() -> FileLock:
    """Return the lock that is held while an experiment starts, in any thread or process of this project.

    DVC stashes the settings of an experiment and takes them from the stash again, without a lock in between: of
    two experiments that start together, each could take the settings of the other.
    """
    return FileLock(sweeps_folder() / "start.lock")


def sweeps_folder() -> Path:
    """Return the folder of this project for logs and locks of experiments; it is created if necessary."""
    folder = project_root() / ".microseg" / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
