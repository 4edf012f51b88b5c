"""DVC's queue of experiments, and what became of those whose worker died.

A worker is a process in the background that runs one queued experiment after the other and ends when there are
none left. DVC takes a task out of the queue when a worker starts on it, and believes it to be running until that
worker reports the result. A worker that is killed never does, so processes are looked at here, not DVC's word.
"""

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from microseg.experiments.dvc_access import FAILED, QUEUED, RUNNING, run_dvc


@dataclass(frozen=True)
class Task:
    """One experiment that was queued and is not finished."""

    name: str
    revision: str
    """The commit in which DVC keeps what the experiment starts from."""
    state: str
    """RUNNING, QUEUED or FAILED."""


def tasks(commit: str) -> list[Task]:
    """Return the tasks that start from `commit`; one that gave a result is a task no longer."""
    from dvc.repo import Repo  # takes a second

    with Repo() as repo:
        queue = repo.experiments.celery_queue
        # In the order in which a task passes through the states, so that one on its way is not missed.
        found: dict[str, Task] = {}
        for state, entries in (
            (QUEUED, queue.iter_queued()),
            (RUNNING, queue.iter_active()),
            (FAILED, (done.entry for done in queue.iter_failed())),
        ):
            for entry in entries:
                if entry.baseline_rev == commit:
                    found[entry.stash_rev] = Task(entry.name, entry.stash_rev, state)
    return list(found.values())


def put(name: str, overrides: Iterable[str]) -> None:
    """Queue an experiment. InputError where DVC refuses it."""
    run_dvc("exp", "run", "--queue", "--name", name, *_settings(overrides))


def run_experiment(name: str, overrides: Iterable[str]) -> None:
    """Run an experiment now and beside the workspace, not through the queue. InputError where it fails."""
    arguments = ("--temp", "--name", name, *_settings(overrides))
    run_dvc("exp", "run", *arguments, interruptible=True, show=True)


def remove(task: Task, commit: str) -> None:
    """Take a task that waits or has failed out of the queue of `commit`."""
    run_dvc("queue", "remove", task.revision)
    if task in tasks(commit):
        # Of a task that was lost before it started DVC removes first what it would start from, then itself.
        run_dvc("queue", "remove", task.revision)


def start_workers(number: int) -> None:
    """Start workers until there are `number`."""
    run_dvc("queue", "start", "--jobs", str(number))


def workers() -> list[psutil.Process]:
    """Return the processes that work on the queue of the project in the working directory."""
    return [process for process in _dvc_processes("queue-worker") if _is_here(process)]


def is_running_here(name: str) -> bool:
    """Return whether an experiment of that name is being run outside the queue, by a process of this project."""
    return any(name in process.info["cmdline"] and _is_here(process) for process in _dvc_processes("run"))


def abandoned(commit: str) -> list[Task]:
    """Return the running tasks that no worker will ever report on, as far as that is certain.

    A worker without a process for an experiment may be about to start one or to report its result, so nothing is
    certain while there is such a worker. There is none for long: a worker without a task ends after 10 seconds.
    """
    running = _running(commit)
    cared_for: set[str] = set()
    for worker in workers():
        try:
            revisions = {revision for child in worker.children() if (revision := _revision(child))}
        except psutil.NoSuchProcess:
            return []
        if not revisions:
            return []
        cared_for |= revisions
    # A task that ended while the processes were looked at was not abandoned: hence once more.
    lost = {task for task in running if task.revision not in cared_for}
    return sorted(lost & _running(commit), key=lambda task: task.name) if lost else []


def give_up(task: Task) -> None:
    """Make an abandoned task a failed one: end what is left of it, remove its files, keep its log."""
    for process in _dvc_processes("exec-run"):
        if _revision(process) == task.revision:
            _end(process)
    _forget_process(task)
    run_dvc("queue", "kill", task.revision)


def _settings(overrides: Iterable[str]) -> list[str]:
    return [part for override in overrides for part in ("--set-param", override)]


def _running(commit: str) -> set[Task]:
    return {task for task in tasks(commit) if task.state == RUNNING}


def _forget_process(task: Task) -> None:
    from dvc.repo import Repo

    with Repo() as repo:
        queue = repo.experiments.celery_queue
        record = queue.proc.get(task.revision)
        if record is not None:
            # Otherwise DVC would interrupt whatever process has this number by now, after a reboot any.
            record.returncode = -1
            queue.proc[task.revision] = record
        about = Path(queue.get_infofile_path(task.revision))
        if about.is_file():
            folder = Path(json.loads(about.read_text(encoding="utf-8"))["root_dir"])
            if folder.is_relative_to(Path(repo.tmp_dir, "exps")):
                shutil.rmtree(folder, ignore_errors=True)


def _dvc_processes(command: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline"]):
        line: Any = process.info["cmdline"]
        if line and command in line and "exp" in line:
            found.append(process)
    return found


def _is_here(process: psutil.Process) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(Path.cwd())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _revision(process: psutil.Process) -> str | None:
    try:
        line = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return Path(line[line.index("--infofile") + 1]).stem if "--infofile" in line else None


def _end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        together = [process, *process.children(recursive=True)]
        for one in together:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        for one in psutil.wait_procs(together, timeout=10)[1]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
