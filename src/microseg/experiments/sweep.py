"""A sweep: the experiments of a grid that do not exist yet, several at a time, on this machine or on many.

Nothing about a sweep is written down: what remains to be done follows from the experiments that DVC has. That is
why the same command continues after any interruption, and does nothing once all is done.
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
from microseg.common.progress import progress
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
from microseg.experiments.running import FAILED, LEFT, Outcome, run_experiment, sweeps_folder
from microseg.experiments.settings import Experiment
from microseg.experiments.stale_locks import clear_stale_locks

log = logging.getLogger(__name__)


def run_sweep(experiments: Sequence[Experiment], jobs: int, *, dry_run: bool) -> list[str]:
    """Run what is missing of `experiments`, `jobs` at a time; return the names of those that failed.

    With `dry_run`, only say what there is to do.

    Raises:
        InputError: the project is not ready for experiments, an experiment has the name but not the parameters of
            one of these, another sweep is at work, or DVC refuses a command.
    """
    with only_sweep():
        clear_stale_locks()
        commit = ready_commit()
        check_names(experiments, experiment_table())
        missing = missing_of(experiments, finished_names(commit), list_them=dry_run)
        if dry_run:
            return []
        try:
            with Watch(missing) as watch:
                _run_here(missing, commit, jobs, watch.tell)
        finally:
            clear_stale_locks()
        return watch.failed


class Watch:
    """Tells what becomes of each experiment of a sweep, how long the rest may take, what is left in the end."""

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self.failed: list[str] = []
        self.left = [one.name for one in experiments]
        self._bar = progress(experiments, "sweep", unit="experiment", shown=bool(experiments))

    def tell(self, outcome: Outcome) -> None:
        """Say what became of one experiment."""
        if outcome.state == LEFT:
            return
        self.left.remove(outcome.name)
        self._bar.clear()
        if outcome.state == FAILED:
            self.failed.append(outcome.name)
            log.error("%s failed: %s", outcome.name, outcome.reason)
        else:
            log.info("%s %s", outcome.name, outcome.state)
        self._bar.update()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self.left:
            log.warning("left for the same command, to go on: %s", ", ".join(self.left))


def _run_here(experiments: Sequence[Experiment], commit: str, jobs: int, tell: Callable[[Outcome], None]) -> None:
    """Run experiments on this machine, `jobs` at a time; an interruption ends those that run."""
    each = max((int(str(one.values["train.devices"])) for one in experiments), default=1)
    devices: queue.Queue[str | None] = queue.Queue()
    for device in share_gpus(visible_gpus(), jobs, each):
        devices.put(device)
    stop = threading.Event()

    def run(one: Experiment) -> Outcome:
        device = devices.get()
        try:
            variables = share_cores(jobs) | ({} if device is None else {VISIBLE: device})
            return run_experiment(one.name, one.overrides, commit, stop.is_set, variables)
        finally:
            devices.put(device)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, one) for one in experiments]
        try:
            for future in as_completed(futures):
                tell(future.result())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def missing_of(
    experiments: Sequence[Experiment], finished: set[str], *, list_them: bool = False
) -> list[Experiment]:
    """Return those of `experiments` whose names are not finished; say how many or which they are."""
    missing = [one for one in experiments if one.name not in finished]
    done = len(experiments) - len(missing)
    log.info("%d experiments: %d finished, %d to run", len(experiments), done, len(missing))
    for one in missing if list_them else ():
        log.info("would run %s: %s", one.name, " ".join(one.overrides))
    return missing


@contextmanager
def only_sweep() -> Iterator[None]:
    """Keep other sweeps out of this project meanwhile. InputError where one is at work."""
    # The lock goes with the process that holds it, however that ends.
    try:
        held = FileLock(sweeps_folder() / "lock").acquire(blocking=False)
    except Timeout:
        raise InputError("another sweep is at work in this project; wait for it or interrupt it") from None
    with held:
        yield


def ready_commit() -> str:
    """Return the current commit, from which the experiments start.

    Warns of uncommitted changes: DVC takes them into every experiment that it starts.

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
    """Raise an InputError where a finished experiment has the name of another of `experiments`."""
    wanted = {one.name: one for one in experiments}
    for row in rows:
        if row.state == FINISHED and row.name in wanted:
            values = wanted[row.name].values
            other = [key for key in values if row.parameter(key) != cell(values[key])]
            if other:
                differences = ", ".join(f"{key} is {row.parameter(key)}, not {values[key]}" for key in other)
                raise InputError(
                    f"there is an experiment {row.name} already in which {differences}; set these parameters "
                    f"back, or remove that experiment with `dvc exp remove {row.name}`"
                )


VISIBLE = "CUDA_VISIBLE_DEVICES"
WAITING, SPINNING = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
"""What decides whether a thread that waits for others keeps its core; the second is for GNU's OpenMP alone."""


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes.

    Found without PyTorch, which would take seconds and hold a GPU: the variable itself where it is set, otherwise
    `nvidia-smi --list-gpus`; where a GPU is divided (MIG), its parts. There are none where there is no driver.
    """
    named = os.environ.get(VISIBLE)
    if named is not None:
        # CUDA goes no further than the first name that is none.
        return list(takewhile(lambda one: one not in ("", "-1"), (one.strip() for one in named.split(","))))
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    names: list[str] = re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", listed)
    divided = {name for name, part in pairwise(names) if part.startswith("MIG")}
    return [name for name in names if name.startswith("MIG") or name not in divided]


def share_gpus(gpus: Sequence[str], jobs: int, each: int = 1) -> list[str | None]:
    """Return for each of `jobs` experiments at a time what CUDA_VISIBLE_DEVICES is to be; None leaves it as it is.

    Args:
        gpus: what there is, as `visible_gpus` says.
        jobs: how many experiments run at a time. Where there are more of them than GPUs, they take turns.
        each: how many GPUs an experiment trains on, `train.devices`.
    """
    groups = [",".join(gpus[start : start + each]) for start in range(0, len(gpus) - each + 1, each)]
    if jobs == 1 or len(groups) < 2:
        return [None] * jobs
    return [groups[job % len(groups)] for job in range(jobs)]


def share_cores(jobs: int) -> dict[str, str]:
    """Return the environment variables by which `jobs` experiments at a time leave the cores to each other.

    Each has as many threads as alone, so that its result is the same to the last bit. But a thread of PyTorch that
    waits for the others of its experiment would keep its core, where those of another experiment have work to do.
    On two Zen 3 cores a step of the default's training takes 0.34 s alone, 1.2 s beside another training, and
    0.58 s beside another one where threads give way. What is set by the user stays.
    """
    if jobs == 1 or WAITING in os.environ or SPINNING in os.environ:
        return {}
    return {WAITING: "PASSIVE"}
