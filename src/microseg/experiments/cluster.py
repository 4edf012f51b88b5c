"""A sweep on many machines: Dask hands the experiments to workers, each in a clone of the project.

What the clones share is git and the DVC remote. A worker pushes the data of an experiment first, then its git
reference: what is in the shared repository can be pulled complete. Dask gives the experiment of a worker that died
to another, up to its `distributed.scheduler.allowed-failures` times; what the dead one had pushed is found there.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microseg.common.errors import InputError
from microseg.experiments.dvc_access import (
    changed_files,
    dvc_output,
    experiment_reference,
    experiment_table,
    finished_names,
    has_data_remote,
    run_git,
    try_git,
)
from microseg.experiments.running import FAILED, LEFT, RUN, THERE, Outcome, one_at_a_time, run_experiment
from microseg.experiments.settings import Experiment
from microseg.experiments.stale_locks import clear_stale_locks
from microseg.experiments.sweep import (
    Watch,
    check_names,
    missing_of,
    only_sweep,
    ready_commit,
)

if TYPE_CHECKING:
    from distributed import Client, Worker

log = logging.getLogger(__name__)

SECONDS_TO_ANSWER = 10
HOW_TO_START = "start some in clones of this project: dask worker {} --nthreads 1 (see docs/several-machines.md)"


def run_cluster_sweep(
    experiments: Sequence[Experiment], scheduler: str, remote: str, *, dry_run: bool
) -> list[str]:
    """Let Dask's workers run and push what is missing of `experiments`; return the names of those that failed.

    Args:
        experiments: what there is to run.
        scheduler: the address of Dask's scheduler, such as "tcp://127.0.0.1:8786".
        remote: the name, here and in the clones of the workers, of the git repository that they share.
        dry_run: only say what there is to do.

    Raises:
        InputError: Dask is not installed or no scheduler answers; the project or the clone of a worker differs
            from the commit; there is no DVC remote; an experiment of one of the names has other parameters; the
            git repository cannot be reached.
    """
    with only_sweep():
        clear_stale_locks()
        commit = ready_commit()
        if changed_files():
            raise InputError("commit or undo the changes first: the workers have the commit only")
        if not has_data_remote():
            raise InputError("DVC has no default remote to share results through: dvc remote add -d NAME URL")
        _fetch(remote, commit)
        check_names(experiments, experiment_table())
        missing = missing_of(experiments, pushed_names(remote, commit), list_them=dry_run)
        if dry_run or not missing:
            return []
        with Watch(missing) as watch:
            for name in finished_names(commit).intersection(one.name for one in missing):
                watch.tell(_push(name, commit, remote, THERE))
            left = [one for one in missing if one.name in watch.left]
            _submit(left, commit, scheduler, remote, watch.tell)
        _fetch(remote, commit)
        return watch.failed


def run_and_push(name: str, overrides: Sequence[str], commit: str, remote: str) -> Outcome:
    """Run an experiment in the clone that this worker was started in, and push it: what Dask's workers do."""
    from distributed import Reschedule, Status, get_worker

    worker = get_worker()
    problem = why_unfit(commit, worker)
    if problem:
        return Outcome(name, FAILED, problem)
    if name in pushed_names(remote, commit):
        return Outcome(name, THERE)
    clear_stale_locks()

    def stopped() -> bool:
        return worker.status not in (Status.running, Status.paused)

    outcome = run_experiment(name, overrides, commit, stopped, _presets_of_dask() if worker.nanny else {})
    if outcome.state == LEFT:
        raise Reschedule
    if outcome.state == FAILED:
        return Outcome(name, FAILED, f"on {socket.gethostname()}: {outcome.reason}")
    return _push(name, commit, remote, RUN)


def why_unfit(commit: str, dask_worker: "Worker") -> str:
    """Return why a worker, which Dask itself passes on, cannot run experiments of a commit, "" where it can."""
    where = f"the worker in {Path.cwd()} on {socket.gethostname()}"
    if dask_worker.state.nthreads > 1:
        return f"{where} would run several experiments at once; start it with --nthreads 1"
    # While another worker of this clone starts an experiment, its files are not those of the commit.
    with one_at_a_time():
        at, changed = try_git("rev-parse", "--verify", "HEAD").stdout.strip(), try_git("diff", "--quiet", "HEAD")
    if at != commit:
        return f"{where} has commit {at[:7] or 'none'}, not {commit[:7]}; check that out and start it again"
    if changed.returncode:
        return f"{where} has uncommitted changes; commit or undo them"
    return ""


def pushed_names(remote: str, commit: str) -> set[str]:
    """Return the names of the experiments of a commit that are in the shared repository, complete."""
    listed = run_git("ls-remote", remote, experiment_reference(commit, "*")).split()[1::2]
    return {name.rpartition("/")[2] for name in listed}


def _push(name: str, commit: str, remote: str, state: str) -> Outcome:
    reference = experiment_reference(commit, name)
    try:
        with one_at_a_time():
            # To this very clone: nothing but the data goes, which `dvc exp push` would push after the reference.
            dvc_output("exp", "push", "--run-cache", ".", name)
    except InputError as error:
        return Outcome(name, FAILED, f"on {socket.gethostname()}: {error}")
    # Only where there is none yet: one that was believed dead may have been quicker.
    pushed = try_git("push", "--quiet", f"--force-with-lease={reference}:", remote, f"{reference}:{reference}")
    if pushed.returncode and name not in pushed_names(remote, commit):
        return Outcome(name, FAILED, f"on {socket.gethostname()}: `git push {remote}`: {pushed.stderr.strip()}")
    return Outcome(name, THERE if pushed.returncode else state)


def _fetch(remote: str, commit: str) -> None:
    """Get the experiments that others have pushed, without their data; those of this clone stay as they are."""
    every = experiment_reference(commit, "*")
    try_git("fetch", "--quiet", remote, f"{every}:{every}")


def _submit(
    experiments: Iterable[Experiment], commit: str, scheduler: str, remote: str, tell: Callable[[Outcome], None]
) -> None:
    with _connect(scheduler) as client:
        _check_workers(client, commit, scheduler)
        # The same experiment has the same key, whoever submits it: no scheduler has it run twice at a time.
        names = {
            client.submit(
                run_and_push, one.name, one.overrides, commit, remote, key=f"{one.name}@{commit}@{remote}"
            ): one.name
            for one in experiments
        }
        from distributed import as_completed

        for future in as_completed(names):
            if future.cancelled():
                raise InputError(f"{scheduler}: the connection to Dask's scheduler was lost")
            error = future.exception()
            tell(Outcome(names[future], FAILED, str(error)) if error else future.result())


def _connect(scheduler: str) -> "Client":
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--scheduler needs Dask: pip install 'microseg[cluster]'") from None
    # What matters of their messages is said here, without a traceback.
    for library in ("distributed", "distributed.client"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        return Client(scheduler, timeout=SECONDS_TO_ANSWER)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{scheduler}: no Dask scheduler answers there ({error}); see `dask scheduler`") from None


def _check_workers(client: "Client", commit: str, scheduler: str) -> None:
    answers: dict[str, Any] = client.run(why_unfit, commit, on_error="return")
    if not answers:
        log.warning("there are no workers yet; %s", HOW_TO_START.format(scheduler))
    problems = [f"{address}: {answer}" for address, answer in answers.items() if answer]
    if problems:
        raise InputError("; ".join(problems))


def _presets_of_dask() -> dict[str, None]:
    """Return the variables by which Dask limits the threads of its own computations, OMP_NUM_THREADS among them.

    A training would get one core by them, and other last digits than without Dask. What was set otherwise where
    the worker was started is none of them.
    """
    import dask

    presets: dict[str, object] = dask.config.get("distributed.nanny.pre-spawn-environ")
    return {key: None for key, value in presets.items() if os.environ.get(key) == str(value)}
