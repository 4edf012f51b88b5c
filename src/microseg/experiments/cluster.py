"""A sweep on many machines: Dask hands the experiments to workers, each in a clone of the project.

The clones share a git repository and the DVC remote. A worker pushes the data of an experiment first, then its git
reference, so that an experiment in the shared repository can be pulled completely. Dask hands the experiment of a
dead worker to another one, up to `distributed.scheduler.allowed-failures` times.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microseg.common.errors import InputError
from microseg.experiments.dvc_access import (
    FINISHED,
    changed_files,
    dvc_output,
    experiment_reference,
    experiment_table,
    finished_names,
    has_data_remote,
    run_git,
    try_git,
)
from microseg.experiments.running import EXISTS, FAILED, INTERRUPTED, Outcome, run_experiment, start_lock
from microseg.experiments.settings import Experiment
from microseg.experiments.stale_locks import clear_stale_locks
from microseg.experiments.sweep import (
    SweepProgress,
    base_commit,
    check_names,
    missing_experiments,
    sweep_lock,
)

if TYPE_CHECKING:
    from distributed import Client, Worker

log = logging.getLogger(__name__)

SECONDS_TO_CONNECT = 10
HOW_TO_START = (
    "start some in clones of this project: dask worker {} {}--dashboard-address 127.0.0.1:0 --nthreads 1 "
    "(see docs/how-to/several-machines.md)"
)
LOOPBACK = "--host 127.0.0.1 "
"""Without encryption a worker, which runs whatever it is sent, listens on this machine only."""


def run_cluster_sweep(
    experiments: Sequence[Experiment], scheduler: str, remote: str, *, dry_run: bool
) -> list[str]:
    """Let Dask's workers run and push the missing ones of `experiments`; return the names of those that failed.

    The `remote` of git has the same name here and in the clones of the workers. With `dry_run`, only list them.

    Raises:
        InputError: Dask is not installed or no scheduler answers; the project or the clone of a worker differs
            from the commit; there is no DVC remote; an existing experiment has the name of one of these but other
            parameters; the git remote cannot be reached.
    """
    with sweep_lock():
        clear_stale_locks()
        commit = base_commit()
        if changed_files():
            raise InputError("commit or undo the changes first: the workers only have the commit")
        if not has_data_remote():
            raise InputError("DVC has no default remote for sharing results; add one: dvc remote add -d NAME URL")
        _fetch(remote, commit)
        check_names(experiments, experiment_table())
        missing = missing_experiments(experiments, pushed_names(remote, commit), list_them=dry_run)
        if dry_run or not missing:
            return []
        with SweepProgress(missing) as progress:
            for name in finished_names(commit).intersection(one.name for one in missing):
                progress.report(_push(name, commit, remote, EXISTS))
            remaining = [one for one in missing if one.name in progress.remaining]
            _submit(remaining, commit, scheduler, remote, progress.report)
        _fetch(remote, commit)
        return progress.failed


def run_and_push(name: str, overrides: Sequence[str], commit: str, remote: str) -> Outcome:
    """Run an experiment in the clone that this worker was started in, and push it: the task of Dask's workers."""
    from distributed import Reschedule, Status, get_worker

    worker = get_worker()
    problem = worker_problem(commit, worker)
    if problem:
        return Outcome(name, FAILED, problem)
    if name in pushed_names(remote, commit):
        return Outcome(name, EXISTS)
    clear_stale_locks()

    def stopped() -> bool:
        return worker.status not in (Status.running, Status.paused)

    outcome = run_experiment(name, overrides, commit, stopped, _thread_limits_of_dask() if worker.nanny else {})
    if outcome.state == INTERRUPTED:
        raise Reschedule
    if outcome.state == FAILED:
        return Outcome(name, FAILED, f"on {socket.gethostname()}: {outcome.reason}")
    return _push(name, commit, remote, FINISHED)


def worker_problem(commit: str, dask_worker: "Worker") -> str:
    """Return why a worker, passed by Dask as `dask_worker`, cannot run experiments of a commit; "" if it can."""
    where = f"the worker in {Path.cwd()} on {socket.gethostname()}"
    if dask_worker.state.nthreads > 1:
        return f"{where} would run several experiments at once; start it with --nthreads 1"
    # While another worker of this clone starts an experiment, the files differ from the commit.
    with start_lock():
        own, changed = try_git("rev-parse", "--verify", "HEAD").stdout.strip(), try_git("diff", "--quiet", "HEAD")
    if own != commit:
        return f"{where} has commit {own[:7] or 'none'}, not {commit[:7]}; check that out and start it again"
    if changed.returncode:
        return f"{where} has uncommitted changes; commit or undo them"
    return ""


def pushed_names(remote: str, commit: str) -> set[str]:
    """Return the names of the experiments of a commit in the shared repository; their data is complete."""
    listed = run_git("ls-remote", remote, experiment_reference(commit, "*")).split()[1::2]
    return {name.rpartition("/")[2] for name in listed}


def _push(name: str, commit: str, remote: str, state: str) -> Outcome:
    """Push the data of an experiment, then its reference; its state is `state`, or EXISTS if others were first."""
    reference = experiment_reference(commit, name)
    try:
        with start_lock():
            # With this clone as git remote it pushes only the data, which otherwise would follow the reference.
            dvc_output("exp", "push", "--run-cache", ".", name)
    except InputError as error:
        return Outcome(name, FAILED, f"on {socket.gethostname()}: {error}")
    # Only if there is none yet: a worker that was thought dead may have pushed first.
    pushed = try_git("push", "--quiet", f"--force-with-lease={reference}:", remote, f"{reference}:{reference}")
    if pushed.returncode and name not in pushed_names(remote, commit):
        return Outcome(name, FAILED, f"on {socket.gethostname()}: `git push {remote}`: {pushed.stderr.strip()}")
    return Outcome(name, EXISTS if pushed.returncode else state)


def _fetch(remote: str, commit: str) -> None:
    """Fetch the experiments that others have pushed, without their data; those of this clone stay unchanged."""
    every = experiment_reference(commit, "*")
    try_git("fetch", "--quiet", remote, f"{every}:{every}")


def _submit(
    experiments: Iterable[Experiment], commit: str, scheduler: str, remote: str, report: Callable[[Outcome], None]
) -> None:
    with _connect(scheduler) as client:
        _check_workers(client, commit, scheduler)
        # The same experiment has the same key for every sweep, so the scheduler does not run it twice at a time.
        names = {
            client.submit(
                run_and_push, one.name, one.overrides, commit, remote, key=f"{one.name}@{commit}@{remote}"
            ): one.name
            for one in experiments
        }
        from distributed import as_completed

        for future in as_completed(names):
            if future.cancelled():
                raise InputError(
                    f"{scheduler}: lost the connection to Dask's scheduler; run the same command once it is back"
                )
            error = future.exception()
            report(Outcome(names[future], FAILED, str(error)) if error else future.result())


def _connect(scheduler: str) -> "Client":
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--scheduler needs Dask: pip install 'microseg[cluster]'") from None
    # Their messages are reported here, without a traceback.
    for library in ("distributed", "distributed.client"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        return Client(scheduler, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{scheduler}: no Dask scheduler answers there ({error}); see `dask scheduler`") from None


def _check_workers(client: "Client", commit: str, scheduler: str) -> None:
    answers: dict[str, Any] = client.run(worker_problem, commit, on_error="return")
    if not answers:
        log.warning(
            "there are no workers yet; %s",
            HOW_TO_START.format(scheduler, "" if scheduler.startswith("tls:") else LOOPBACK),
        )
    problems = [f"{address}: {answer}" for address, answer in answers.items() if answer]
    if problems:
        raise InputError("; ".join(problems))


def _thread_limits_of_dask() -> dict[str, None]:
    """Return the variables with which Dask, not the user, limits threads, in order to unset them.

    With them a training would use one core, and its result would differ in the last digits.
    """
    import dask

    limits: dict[str, object] = dask.config.get("distributed.nanny.pre-spawn-environ")
    return {key: None for key, value in limits.items() if os.environ.get(key) == str(value)}
