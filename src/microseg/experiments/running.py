"""One experiment: `dvc exp run --temp`, which works in a copy of the project beside the workspace and others."""

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
from microseg.experiments.dvc_access import PAUSES, environment, finished_names, is_locked, last_error
from microseg.experiments.stale_locks import SINGLE_EXPERIMENT, dvc_processes

THERE, RUN, FAILED, LEFT = "there already", "run", "failed", "left"
"""What becomes of an experiment; LEFT: it was not run, or not to its end, because the sweep was told to end."""

STARTED = "Reproducing experiment"
"""What DVC says once its copy of the project is complete."""
POLL_SECONDS = 0.2
SECONDS_TO_END = 30.0


@dataclass(frozen=True)
class Outcome:
    """What became of an experiment."""

    name: str
    state: str
    """THERE, RUN, FAILED or LEFT."""
    reason: str = ""
    """Why it failed, and where its log is."""


def sweeps_folder() -> Path:
    """Return (and make) the folder of this project for the logs of its experiments and for locks."""
    folder = project_root() / ".microseg" / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def one_at_a_time() -> FileLock:
    """Return the lock that holds while an experiment starts, in any thread or process of this project.

    DVC puts the settings of an experiment aside and takes them up again from the same place, without holding a
    lock in between: of two that start together each could take those of the other, or both the same (and so could
    one that ends, but for `single_experiment`). Meanwhile the workspace is not what the user left there.
    """
    return FileLock(sweeps_folder() / "start.lock")


def run_experiment(
    name: str,
    overrides: Sequence[str],
    commit: str,
    stopped: Callable[[], bool],
    variables: Mapping[str, str | None],
) -> Outcome:
    """Run an experiment of the current commit, unless it is there already.

    One that is being run in this project, as by a sweep that was killed, is waited for. While another command has
    locked the project, DVC is asked again, for a minute.

    Args:
        name: what to call it.
        overrides: what `dvc exp run -S` is given, such as "train.epochs=5".
        commit: the current commit.
        stopped: whether the experiment is to end before it is complete; asked several times a second.
        variables: environment variables that the experiment has beside those of this process; None: has not.
    """
    settings = [part for override in overrides for part in ("--set-param", override)]
    command = [sys.executable, "-m", SINGLE_EXPERIMENT, "exp", "run", "--temp", "--name", name, *settings]
    log = sweeps_folder() / f"{name}.log"
    while not stopped() and _is_under_way(name):
        time.sleep(POLL_SECONDS)
    if name in finished_names(commit):
        return Outcome(name, THERE)
    pauses = iter(PAUSES)
    while not stopped():
        _run(command, log, stopped, variables)
        # DVC's own word does not count: it also fails where it cannot lock the project again in the end.
        if name in finished_names(commit):
            return Outcome(name, RUN)
        said = _said(log)
        pause = next(pauses, None) if STARTED not in said and is_locked(said) else None
        if pause is None and not stopped():
            return Outcome(name, FAILED, f"{last_error(said)}; its log is {log}")
        end = time.monotonic() + (pause or 0)
        while time.monotonic() < end and not stopped():
            time.sleep(POLL_SECONDS)
    return Outcome(name, LEFT)


def _run(
    command: Sequence[str], log: Path, stopped: Callable[[], bool], variables: Mapping[str, str | None]
) -> None:
    """Run a command to its end, or until `stopped`, with all that it says in the file `log`."""
    with log.open("wb") as output:
        with one_at_a_time():
            process = subprocess.Popen(
                command,
                env=environment({"PYTHONUNBUFFERED": "1", **variables}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for this process alone, which lets an experiment start before it ends it.
                start_new_session=True,
            )
            while process.poll() is None and STARTED not in _said(log):
                time.sleep(POLL_SECONDS)
        while process.poll() is None:
            if stopped():
                _end(process)
            time.sleep(POLL_SECONDS)


def _said(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a DVC command and what it started as Ctrl-C would, so that it removes its copy of the project."""
    dvc = psutil.Process(process.pid)
    together = [*dvc.children(recursive=True), dvc]
    for one in together:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
    for one in psutil.wait_procs(together, timeout=SECONDS_TO_END)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def _is_under_way(name: str) -> bool:
    return any({"exp", "run", "--name", name} <= set(line) for line in dvc_processes(project_root()))
