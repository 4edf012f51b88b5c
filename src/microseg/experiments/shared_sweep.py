"""A sweep that several machines work on, each in a clone of its own; what they share is git and the DVC remote.

Each worker goes through the same list. It claims an experiment, runs it, pushes it and removes its claim. An
experiment is done when it is in the shared repository and nobody claims it: its claim is removed after its data is
pushed, so that what is done can be pulled complete.
"""

import logging
from collections.abc import Sequence

from microseg.common.errors import InputError
from microseg.common.progress import progress
from microseg.experiments.claims import claim, read_claim, release
from microseg.experiments.dvc_access import (
    changed_files,
    experiment_reference,
    experiment_table,
    finished_names,
    has_data_remote,
    head,
    run_dvc,
    run_git,
    try_git,
)
from microseg.experiments.dvc_queue import run_experiment
from microseg.experiments.grid import Experiment
from microseg.experiments.sweep import check_names, only_sweep, ready_commit

log = logging.getLogger(__name__)

OURS, THERE, CLAIMED, FAILED = "run here", "there already", "being run by others", "failed"


def run_shared_sweep(experiments: Sequence[Experiment], remote: str) -> list[str]:
    """Run those of `experiments` that no worker has run or is running, and push them; return those that failed.

    Args:
        experiments: what there is to run, one at a time, in this order.
        remote: the name of the git repository that the workers share.

    Raises:
        InputError: the project differs from its commit, so that workers would not run the same; there is no DVC
            remote; an experiment of one of the names has other parameters; the git repository cannot be reached.
    """
    outcomes: dict[str, list[str]] = {OURS: [], THERE: [], CLAIMED: [], FAILED: []}
    with only_sweep():
        commit = ready_commit()
        if changed_files():
            raise InputError("commit or undo the changes first: the other workers have the commit only")
        if not has_data_remote():
            raise InputError("DVC has no default remote to share results through: dvc remote add -d NAME URL")
        finished = experiment_reference(commit, "*")
        try_git("fetch", "--quiet", remote, f"{finished}:{finished}")
        check_names(experiments, experiment_table())
        for one in progress(experiments, "shared sweep", unit="experiment"):
            outcomes[_take(one, remote, commit)].append(one.name)
    log.info("; ".join(f"{len(names)} {outcome}" for outcome, names in outcomes.items()))
    return outcomes[FAILED]


def release_claim(remote: str, name: str) -> None:
    """Remove the claim of a worker that is dead, and the experiment if it was not pushed to the end.

    Raises:
        InputError: nobody claims that experiment, or the shared repository cannot be reached.
    """
    commit = head()
    held, other = read_claim(remote, commit, name)
    if other is None:
        raise InputError(f"{remote}: nobody claims {name} at commit {commit[:7]}; see `git ls-remote {remote}`")
    # DVC pushes an experiment before its data: it may be there without all of them.
    release(remote, commit, name, held, withdraw=True)
    log.info("%s is free again; it was claimed by %s", name, other)


def _take(experiment: Experiment, remote: str, commit: str) -> str:
    """Run and push an experiment unless it is done or another worker's; return what became of it."""
    name = experiment.name
    if _pushed(remote, commit, name) and read_claim(remote, commit, name)[1] is None:
        return THERE
    held, other = claim(remote, commit, name)
    if other is not None:
        log.info("%s is being run by %s", name, other)
        return CLAIMED
    try:
        if name not in finished_names(commit):
            if _pushed(remote, commit, name):
                release(remote, commit, name, held)
                return THERE
            log.info("%s: %s", name, " ".join(experiment.overrides))
            run_experiment(name, experiment.overrides)
        _push(remote, commit, name)
        release(remote, commit, name, held)
    except InputError as error:
        log.error("%s: %s", name, error)  # noqa: TRY400 (the user's to mend: no traceback)
        _withdraw(remote, commit, name, held)
        return FAILED
    except KeyboardInterrupt:
        _withdraw(remote, commit, name, held)
        raise
    return OURS


def _push(remote: str, commit: str, name: str) -> None:
    run_dvc("exp", "push", "--run-cache", remote, name)
    # DVC only warns where another experiment of that name is there already.
    if _pushed(remote, commit, name) != run_git("rev-parse", experiment_reference(commit, name)).strip():
        raise InputError(f"{remote} has another result of this experiment; remove this one: dvc exp remove {name}")


def _pushed(remote: str, commit: str, name: str) -> str:
    """Return the commit of an experiment in the shared repository, "" where it is not there."""
    return run_git("ls-remote", remote, experiment_reference(commit, name)).partition("\t")[0]


def _withdraw(remote: str, commit: str, name: str, held: str) -> None:
    try:
        release(remote, commit, name, held, withdraw=True)
    except InputError as error:
        log.error("%s: the claim could not be removed: %s", name, error)  # noqa: TRY400 (no traceback)
