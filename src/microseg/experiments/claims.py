"""Who runs which experiment, where several machines work on one sweep: claims in the git repository they share.

A claim is a reference `refs/claims/COMMIT/NAME` on the shared repository. A push that creates a reference on the
condition that there is none yet is atomic: of any number of workers that try, git lets exactly one succeed.
"""

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from microseg.common.errors import InputError
from microseg.experiments.dvc_access import experiment_reference, run_git, try_git
from microseg.experiments.dvc_queue import is_running_here


@dataclass(frozen=True)
class Claim:
    """What a worker says about itself when it claims an experiment."""

    host: str
    folder: str
    process: int
    since: str
    token: str
    """Makes every claim another git object: pushing the same one twice would succeed twice."""

    def __str__(self) -> str:
        """Return a phrase such as "node7, process 4711, since 2024-05-01T12:00:00+00:00"."""
        return f"{self.host}, process {self.process}, since {self.since}"


def claim(remote: str, commit: str, name: str) -> tuple[str, Claim | None]:
    """Claim an experiment; return the git object of its claim, and whose that is: None if it is ours.

    A claim that a worker of this very clone left when it was killed is taken over.

    Raises:
        InputError: the shared repository cannot be reached or refuses the reference.
    """
    reference = _reference(commit, name)
    taken, other = read_claim(remote, commit, name)
    if other is not None and not _is_dead(other, name):
        return taken, other
    mine = Claim(
        host=socket.gethostname(),
        folder=str(Path.cwd()),
        process=os.getpid(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        token=uuid.uuid4().hex,
    )
    blob = run_git("hash-object", "-w", "--stdin", text=json.dumps(asdict(mine))).strip()
    lease = f"--force-with-lease={reference}:{taken}"
    pushed = try_git("push", "--quiet", lease, remote, f"{blob}:{reference}")
    if pushed.returncode == 0:
        return blob, None
    now, other = read_claim(remote, commit, name)
    if other is None or now == taken:
        raise InputError(f"{remote}: cannot claim {name}: {pushed.stderr.strip()}")
    return now, other


def read_claim(remote: str, commit: str, name: str) -> tuple[str, Claim | None]:
    """Return the git object and the content of an experiment's claim; "" and None where nobody claims it."""
    listed = run_git("ls-remote", remote, _reference(commit, name)).split()
    if not listed or try_git("fetch", "--quiet", "--no-write-fetch-head", remote, listed[0]).returncode:
        # Not there, or released since it was listed.
        return "", None
    return listed[0], Claim(**json.loads(run_git("cat-file", "blob", listed[0])))


def release(remote: str, commit: str, name: str, held: str, *, withdraw: bool = False) -> None:
    """Remove the claim whose git object is `held`; with `withdraw`, the experiment itself too, in the same moment.

    Raises:
        InputError: the claim is another one by now, or the repository cannot be reached; nothing is removed.
    """
    reference = _reference(commit, name)
    removed = [f":{reference}"] + ([f":{experiment_reference(commit, name)}"] if withdraw else [])
    run_git("push", "--quiet", "--atomic", f"--force-with-lease={reference}:{held}", remote, *removed)


def _reference(commit: str, name: str) -> str:
    return f"refs/claims/{commit}/{name}"


def _is_dead(claim: Claim, name: str) -> bool:
    here = claim.host == socket.gethostname() and claim.folder == str(Path.cwd())
    return here and not psutil.pid_exists(claim.process) and not is_running_here(name)
