"""A sweep: the experiments of a grid that are not there yet, several at a time, on this machine or on many.

Nothing about a sweep is written down: what is left to do follows from the experiments that DVC has. That is why
the same command goes on after any interruption, and does nothing once all is done.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

from filelock import FileLock, Timeout

from microseg.common.errors import InputError
from microseg.common.progress import progress
from microseg.experiments.devices import VISIBLE, share_cores, share_gpus, visible_gpus
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
from microseg.experiments.grid import Experiment
from microseg.experiments.leftovers import clear_leftovers
from microseg.experiments.running import FAILED, LEFT, Outcome, run_experiment, sweeps_folder

log = logging.getLogger(__name__)


def run_sweep(experiments: Sequence[Experiment], jobs: int, *, dry_run: bool) -> list[str]:
    """Run what is missing of `experiments`, `jobs` at a time; return the names of those that failed.

    With `dry_run`, only say what there is to do.

    Raises:
        InputError: the project is not ready for experiments, an experiment has the name but not the parameters of
            one of these, another sweep is at work, or DVC refuses a command.
    """
    with only_sweep():
        clear_leftovers()
        commit = ready_commit()
        check_names(experiments, experiment_table())
        missing = missing_of(experiments, finished_names(commit), list_them=dry_run)
        if dry_run:
            return []
        try:
            with Watch(missing) as watch:
                _run_here(missing, commit, jobs, watch.tell)
        finally:
            clear_leftovers()
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
