"""A sweep: the experiments of a grid that are not there yet, run one after the other by DVC's queue.

Nothing about a sweep is written down: what is left to do follows from the experiments that DVC has. That is why
the same command goes on after any interruption, and does nothing once all is done.
"""

import fcntl
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from microseg.common.errors import InputError
from microseg.common.progress import progress
from microseg.common.workspace import shared_folder
from microseg.experiments import dvc_queue
from microseg.experiments.dvc_access import (
    FAILED,
    FINISHED,
    QUEUED,
    RUNNING,
    Row,
    cell,
    changed_files,
    experiment_table,
    finished_names,
    head,
    run_git,
)
from microseg.experiments.grid import Experiment

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
IDLE_STARTS = 5
"""How often in a row workers are started without any of them taking a task."""


@dataclass
class Plan:
    """The experiments of a sweep by what is to be done with them."""

    finished: list[str] = field(default_factory=list)
    under_way: list[str] = field(default_factory=list)
    """Queued or running already."""
    again: list[str] = field(default_factory=list)
    """Failed, perhaps because their worker was killed."""
    new: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return one line that says how many there are of each kind."""
        kinds = {
            "finished": self.finished,
            "under way": self.under_way,
            "failed, to run again": self.again,
            "to run": self.new,
        }
        return "; ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)


def run_sweep(experiments: Sequence[Experiment], jobs: int, *, dry_run: bool) -> list[str]:
    """Run what is missing of `experiments`, `jobs` at a time; return the names of those that failed.

    With `dry_run`, only say what there is to do.

    Raises:
        InputError: the project is not ready for experiments, an experiment has the name but not the parameters of
            one of these, another sweep is at work, or DVC refuses a command.
    """
    with only_sweep():
        commit = ready_commit()
        _fail_abandoned(commit)
        check_names(experiments, experiment_table())
        plan = make_plan(experiments, commit)
        log.info("%d experiments: %s", len(experiments), plan)
        missing = [one for one in experiments if one.name not in plan.finished]
        if dry_run:
            for one in missing:
                log.info("would run %s: %s", one.name, " ".join(one.overrides))
            return []
        if not missing:
            return []
        for one in missing:
            if one.name not in plan.under_way:
                _queue(one, commit)
        failed = _wait(missing, commit, jobs)
        check_names(experiments, experiment_table())
        return failed


@contextmanager
def only_sweep() -> Iterator[None]:
    """Keep other sweeps out of this project meanwhile. InputError where one is at work."""
    # The lock goes with the process that holds it, however that ends.
    with (shared_folder("sweeps") / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("another sweep is at work in this project; wait for it or interrupt it") from None
        yield


def ready_commit() -> str:
    """Return the current commit, from which the experiments start.

    Warns of uncommitted changes: DVC takes them into every experiment that it queues.

    Raises:
        InputError: dvc.lock is not part of that commit.
    """
    commit = head()
    if not run_git("ls-tree", "--name-only", commit, "dvc.lock").strip():
        raise InputError(
            "dvc.lock is not committed; run `dvc repro`, then `git add` and `git commit` what it wrote"
        )
    changed = changed_files()
    if changed:
        log.warning("uncommitted changes go into every new experiment: %s", ", ".join(changed))
    return commit


def check_names(experiments: Sequence[Experiment], rows: Sequence[Row]) -> None:
    """Raise an InputError where a finished or waiting experiment has the name of another of `experiments`."""
    wanted = {one.name: one for one in experiments}
    for row in rows:
        if row.state in (FINISHED, QUEUED) and row.name in wanted:
            values = wanted[row.name].values
            other = [key for key in values if row.parameter(key) != cell(values[key])]
            if other:
                differences = ", ".join(f"{key} is {row.parameter(key)}, not {values[key]}" for key in other)
                how = "exp remove" if row.state == FINISHED else "queue remove"
                raise InputError(
                    f"there is an experiment {row.name} already in which {differences}; set these parameters "
                    f"back, or remove that experiment with `dvc {how} {row.name}`"
                )


def make_plan(experiments: Sequence[Experiment], commit: str) -> Plan:
    """Sort the experiments by what there is of them."""
    states = _states(commit)
    plan = Plan()
    for one in experiments:
        state = states.get(one.name)
        if state == FINISHED:
            plan.finished.append(one.name)
        elif state == FAILED:
            plan.again.append(one.name)
        elif state in (QUEUED, RUNNING):
            plan.under_way.append(one.name)
        else:
            plan.new.append(one.name)
    return plan


def _states(commit: str) -> dict[str, str]:
    # Where there are several tasks of one name, the one that is furthest from an end in failure counts. The
    # finished ones are read last, so that none is missed on its way.
    order = [FAILED, QUEUED, RUNNING]
    found = sorted(dvc_queue.tasks(commit), key=lambda task: order.index(task.state))
    states = {task.name: task.state for task in found}
    return states | dict.fromkeys(finished_names(commit), FINISHED)


def _fail_abandoned(commit: str) -> list[str]:
    lost = dvc_queue.abandoned(commit)
    for task in lost:
        log.warning("%s has lost its worker", task.name)
        dvc_queue.give_up(task)
    return [task.name for task in lost]


def _queue(experiment: Experiment, commit: str) -> None:
    for task in dvc_queue.tasks(commit):
        if task.name == experiment.name and task.state == FAILED:
            dvc_queue.remove(task, commit)
    dvc_queue.put(experiment.name, experiment.overrides)
    log.info("%s queued: %s", experiment.name, " ".join(experiment.overrides))


def _wait(experiments: Sequence[Experiment], commit: str, jobs: int) -> list[str]:
    """Wait for the end of all experiments; return the names of those that failed."""
    failed = []
    nothing: list[object] = []
    with progress(nothing, "sweep", total=len(experiments), unit="experiment") as bar:
        for name, state in _events(experiments, commit, jobs):
            bar.clear()
            log.info("%s %s", name, state)
            bar.update(state in (FINISHED, FAILED))
            if state == FAILED:
                failed.append(name)
    return failed


def _events(experiments: Sequence[Experiment], commit: str, jobs: int) -> Iterator[tuple[str, str]]:
    """Keep up to `jobs` workers at work; yield the name of each experiment when it runs, and when it has ended."""
    waiting = {one.name: one for one in experiments}
    second_chance = set(waiting)
    before: dict[str, str] = {}
    idle_starts = 0
    while waiting:
        # A worker may have been killed, but DVC's own also lose a task that they take when about to end.
        for name in second_chance.intersection(_fail_abandoned(commit), waiting):
            second_chance.remove(name)
            _queue(waiting[name], commit)
        states = _states(commit)
        for name in list(waiting):
            state = states.get(name, FAILED)
            if state in (FINISHED, FAILED):
                del waiting[name]
            if state not in (QUEUED, before.get(name)):
                yield name, state
        if states != before:
            before, idle_starts = states, 0
        if idle_starts > IDLE_STARTS:
            raise InputError("DVC's workers end without taking a task; read .dvc/tmp/exps/celery/*.out")
        if QUEUED in states.values() and len(dvc_queue.workers()) < min(jobs, len(waiting)):
            dvc_queue.start_workers(jobs)
            idle_starts += 1
        if waiting:
            time.sleep(POLL_SECONDS)
