"""A sweep: the missing experiments of a grid, several at a time on this machine.

A sweep has no state of its own: what remains to run follows from the experiments that DVC has. That is why the
same command continues after any interruption, and does nothing once all experiments are finished.
"""

import logging
import os
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import pairwise, takewhile

from filelock import FileLock, Timeout

from microseg.common.errors import InputError
from microseg.common.parallel import usable_cores
from microseg.common.progress import progress
from microseg.experiments.comparison import NO_EFFECT
from microseg.experiments.dvc_access import (
    FINISHED,
    Row,
    cell,
    changed_files,
    experiment_table,
    finished_names,
    head,
    run_git,
)
from microseg.experiments.running import FAILED, INTERRUPTED, Outcome, run_experiment, sweeps_folder
from microseg.experiments.settings import Experiment
from microseg.experiments.stale_locks import clear_stale_locks

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"

WRITTEN_BY_STAGES = ("dvc.lock", "metrics/", "plots/", "reports/")
"""Where stages, tables and plots of experiments are written: uncommitted changes there change no result."""

THREADS = "OMP_NUM_THREADS"


def run_sweep(experiments: Sequence[Experiment], jobs: int, *, dry_run: bool) -> list[str]:
    """Run the missing ones of `experiments`, `jobs` at a time; return the names of those that failed.

    With `dry_run`, only list them.

    Raises:
        InputError: the project is not ready for experiments, an existing experiment has the name of one of these
            but other parameters, another sweep is running, or DVC refuses a command.
    """
    with sweep_lock():
        clear_stale_locks()
        commit = base_commit()
        check_names(experiments, experiment_table())
        missing = missing_experiments(experiments, finished_names(commit), list_them=dry_run)
        if dry_run:
            return []
        try:
            with SweepProgress(missing) as sweep_progress:
                _run_locally(missing, commit, jobs_at_a_time(jobs, len(missing)), sweep_progress.report)
        finally:
            clear_stale_locks()
        return sweep_progress.failed


@contextmanager
def sweep_lock() -> Iterator[None]:
    """Keep other sweeps out of this project meanwhile; InputError where one is running."""
    # The lock is released with the process that holds it, however that ends.
    try:
        held = FileLock(sweeps_folder() / "lock").acquire(blocking=False)
    except Timeout:
        raise InputError("another sweep is running in this project; wait for it or interrupt it") from None
    with held:
        yield


def base_commit() -> str:
    """Return the current commit, which the experiments start from.

    Warns of uncommitted changes, which DVC takes into every experiment that it starts, except those of files that
    the stages write anew.

    Raises:
        InputError: dvc.lock is not part of that commit.
    """
    commit = head()
    if not run_git("ls-tree", "--name-only", commit, "dvc.lock").strip():
        raise InputError(
            "dvc.lock is not committed; run `dvc repro`, then `git add` and `git commit` what it wrote"
        )
    changed = [path for path in changed_files() if not path.startswith(WRITTEN_BY_STAGES)]
    if changed:
        log.warning("uncommitted changes go into every new experiment: %s", ", ".join(changed))
    return commit


def check_names(experiments: Sequence[Experiment], rows: Sequence[Row]) -> None:
    """Raise an InputError where a finished experiment has a name of `experiments` but other parameters."""
    wanted = {one.name: one for one in experiments}
    for row in rows:
        if row.state == FINISHED and row.name in wanted:
            values = wanted[row.name].values
            other = [key for key in values if key not in NO_EFFECT and row.parameter(key) != cell(values[key])]
            if other:
                differences = ", ".join(f"{key} is {row.parameter(key)}, not {values[key]}" for key in other)
                raise InputError(
                    f"an experiment {row.name} already exists in which {differences}; set these parameters "
                    f"back, or remove that experiment with `dvc exp remove {row.name}`"
                )


def missing_experiments(
    experiments: Sequence[Experiment], finished: set[str], *, list_them: bool = False
) -> list[Experiment]:
    """Return those of `experiments` whose names are not in `finished`; log their number, or list them."""
    missing = [one for one in experiments if one.name not in finished]
    done = len(experiments) - len(missing)
    log.info("%d experiments: %d finished, %d to run", len(experiments), done, len(missing))
    for one in missing if list_them else ():
        log.info("would run %s: %s", one.name, " ".join(one.overrides))
    return missing


class SweepProgress:
    """The progress of a sweep: a bar, a log line for each outcome, and in the end the experiments that remain."""

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self.failed: list[str] = []
        self.remaining = [one.name for one in experiments]
        self._bar = progress(experiments, "sweep", unit="experiment", shown=bool(experiments))

    def report(self, outcome: Outcome) -> None:
        """Report the outcome of one experiment."""
        if outcome.state == INTERRUPTED:
            return
        self.remaining.remove(outcome.name)
        self._bar.clear()
        if outcome.state == FAILED:
            self.failed.append(outcome.name)
            log.error("%s failed: %s", outcome.name, outcome.reason)
        else:
            log.info("%s %s", outcome.name, outcome.state)
        self._bar.update()

    def __enter__(self) -> "SweepProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self.remaining:
            log.warning("not finished: %s; the same command continues with them", ", ".join(self.remaining))


def _run_locally(
    experiments: Sequence[Experiment], commit: str, jobs: int, report: Callable[[Outcome], None]
) -> None:
    """Run experiments on this machine, `jobs` at a time; an interruption ends those that are running."""
    gpus_each = max((int(str(one.values["train.devices"])) for one in experiments), default=1)
    free_gpus: queue.Queue[str | None] = queue.Queue()
    for gpus in assign_gpus(visible_gpus(), jobs, gpus_each):
        free_gpus.put(gpus)
    stop = threading.Event()

    def run(one: Experiment) -> Outcome:
        gpus = free_gpus.get()
        try:
            variables = {} if gpus is None else {VISIBLE: gpus}
            return run_experiment(one.name, one.overrides, commit, stop.is_set, variables)
        finally:
            free_gpus.put(gpus)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, one) for one in experiments]
        try:
            for future in as_completed(futures):
                report(future.result())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def jobs_at_a_time(jobs: int, experiments: int) -> int:
    """Return how many of `experiments` run at a time, at most `jobs`: one where all would train on the same cores.

    Unless OMP_NUM_THREADS says otherwise, a training has a thread for each core, so that its result is the same to
    the last bit however many run. Two at a time are then slower than one after the other, because a thread with a
    core spins until the other threads of its training have one. On two Xeon cores with AMX a step of the default
    takes 0.05 s alone and 0.17 s beside another training; with one thread each it takes 0.09 s.
    """
    jobs = max(1, min(jobs, experiments))
    if jobs == 1 or os.environ.get(THREADS) or visible_gpus():
        return jobs
    cores = usable_cores()
    log.warning(
        "one experiment at a time: each trains on all %d cores; with %s=%d they share them, %d at a time, and "
        "differ in the last digits of sums",
        *(cores, THREADS, max(1, cores // jobs), jobs),
    )
    return 1


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes.

    Found without PyTorch, which would take seconds and occupy a GPU. Of a partitioned GPU (MIG) the instances are
    returned; empty without a driver.
    """
    listed = os.environ.get(VISIBLE)
    if listed is not None:
        # CUDA ignores everything behind the first invalid name.
        return list(takewhile(lambda one: one not in ("", "-1"), (one.strip() for one in listed.split(","))))
    try:
        output = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    names: list[str] = re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", output)
    partitioned = {name for name, instance in pairwise(names) if instance.startswith("MIG")}
    return [name for name in names if name.startswith("MIG") or name not in partitioned]


def assign_gpus(gpus: Sequence[str], jobs: int, gpus_each: int = 1) -> list[str | None]:
    """Return CUDA_VISIBLE_DEVICES for each of `jobs` experiments at a time; None leaves the variable unchanged.

    Each trains on `gpus_each` GPUs. More experiments than GPUs share them.
    """
    groups = [
        ",".join(gpus[start : start + gpus_each]) for start in range(0, len(gpus) - gpus_each + 1, gpus_each)
    ]
    if jobs == 1 or len(groups) < 2:
        return [None] * jobs
    return [groups[job % len(groups)] for job in range(jobs)]
