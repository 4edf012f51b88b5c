"""The only door to DVC and git: what experiments there are, what the queue does, and the commands that change it.

What is shown is read through DVC's Python interface, what is changed is changed by the commands that a user would
type. DVC shows every value of its table as a number or as text; `cell` turns a parameter into the same form.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from microseg.common.errors import InputError

Cell = float | str
MISSING = "None"
"""How DVC's table shows what is null, and what is not there at all."""

FINISHED, RUNNING, QUEUED, FAILED = "finished", "running", "queued", "failed"

ATTEMPTS = 3

# Messages of libraries below DVC that mean nothing to the user of this package.
for _library in ("dvc", "dvc_task", "celery", "kombu", "scmrepo"):
    logging.getLogger(_library).setLevel(logging.ERROR)


def cell(value: object) -> Cell:
    """Return how DVC's table shows a value of a parameter: numbers as float, all else as text."""
    text = str(value)
    try:
        return float(text)
    except ValueError:
        return text


@dataclass(frozen=True, eq=False)
class Row:
    """One line of DVC's table of experiments."""

    name: str
    """The experiment's name; "" for the workspace and for commits."""
    revision: str
    """The first digits of its commit or of its task; "workspace" for the workspace."""
    state: str
    """FINISHED, RUNNING, QUEUED or FAILED. Unless finished, its metrics are those of the commit it starts from."""
    cells: Mapping[str, Cell | None]

    def parameter(self, key: str) -> Cell:
        """Return the value of a parameter, MISSING where there is none."""
        return self._cell("params.yaml", key)

    def metric(self, file: str, key: str) -> Cell:
        """Return the value of a metric in a metrics file, MISSING where there is none."""
        return self._cell(file, key)

    def _cell(self, file: str, key: str) -> Cell:
        # DVC puts the file before the key where two files have the same key.
        value = self.cells.get(f"{file}:{key}")
        value = self.cells.get(key) if value is None else value
        return MISSING if value is None else value


def experiment_table(commits: int = 1, revision: str | None = None) -> list[Row]:
    """Return the rows of DVC's table: the workspace first, then each commit followed by its experiments.

    Args:
        commits: how many commits to go back to; negative for all of the current branch.
        revision: the commit to start at, the current one by default.

    Raises:
        InputError: DVC cannot read the project.
    """
    table = _retry_exp_show(commits, revision)
    return [
        Row(
            name=line["Experiment"] or "",
            revision=line["rev"],
            state={None: FINISHED, "Success": FINISHED}.get(line["State"], str(line["State"]).lower()),
            cells=line,
        )
        for line in table
    ]


def _retry_exp_show(commits: int, revision: str | None) -> list[dict[str, Any]]:
    import dvc.api  # takes a second
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(1)
        try:
            return cast("list[dict[str, Any]]", dvc.api.exp_show(revs=revision, num=commits))
        except (DvcException, SCMError, OSError) as error:
            # DVC looks into the folders of running experiments too, which come and go meanwhile.
            reason = error
    raise InputError(f"DVC cannot read the experiments: {reason}")


def environment() -> dict[str, str]:
    """Return an environment in which the programs of this Python come first: DVC starts others by name."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path}


def run_dvc(*arguments: str, interruptible: bool = False, show: bool = False) -> None:
    """Run a DVC command in the working directory; with `show`, its output goes where log lines go.

    Ctrl-C ends the command where it is `interruptible`. Others end in their own time first: half-way through
    queueing an experiment, DVC holds the user's uncommitted changes.

    Raises:
        InputError: the command failed; the message ends with what DVC said last.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if show else output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait()
        except KeyboardInterrupt:
            if interruptible:
                # The whole group: DVC itself leaves it to the stage to end.
                os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise
        output.seek(0)
        lines = output.read().strip().splitlines()
    if process.returncode:
        said = "see above" if show else _last_error(lines)
        raise InputError(f"`dvc {' '.join(arguments)}` failed: {said}")


def _last_error(lines: list[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it said nothing"])[-1]


def try_git(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a git command in the working directory, giving it `text`, whether or not it succeeds."""
    return subprocess.run(["git", *arguments], input=text, capture_output=True, text=True, check=False)


def run_git(*arguments: str, text: str | None = None) -> str:
    """Run a git command in the working directory, giving it `text`; return what it says.

    Raises:
        InputError: it failed; the message ends with what git said.
    """
    done = try_git(*arguments, text=text)
    if done.returncode:
        raise InputError(f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def has_data_remote() -> bool:
    """Return whether DVC has a default remote to push data to."""
    from dvc.repo import Repo  # takes a second

    with Repo() as repo:
        return bool(repo.config["core"].get("remote"))


def dvc_output(*arguments: str) -> str:
    """Return what a DVC command prints.

    Raises:
        InputError: it failed; the message ends with what DVC said last.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"`dvc {' '.join(arguments)}` failed: {_last_error(done.stderr.strip().splitlines())}")
    return done.stdout


def file_at(revision: str, path: str) -> str | None:
    """Return the text of a file as it is in a commit, in git or in DVC's cache; None where it is in neither."""
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return str(dvc.api.read(path, rev=revision))
    except (FileNotFoundError, DvcException):
        return None


def head() -> str:
    """Return the current commit."""
    return run_git("rev-parse", "--verify", "HEAD").strip()


def changed_files() -> list[str]:
    """Return the files under version control that differ from the current commit."""
    return run_git("diff", "--name-only", "HEAD").split("\n")[:-1]


def finished_names(commit: str) -> set[str]:
    """Return the names of the finished experiments of a commit: quicker than the whole table."""
    return set(run_git("for-each-ref", "--format=%(refname:lstrip=4)", experiment_reference(commit, "")).split())


def experiment_reference(commit: str, name: str) -> str:
    """Return the git reference under which DVC keeps a finished experiment."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"
