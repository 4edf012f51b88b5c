"""The only door to DVC and git: what experiments there are, and the commands of both.

The table of experiments and files of other commits are read through `dvc.api`, everything else is done by the
commands that a user would type. DVC shows every value of its table as a number or as text; `cell` turns a
parameter into the same form.
"""

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from microseg.common.errors import InputError

Cell = float | str
MISSING = "None"
"""How DVC's table shows what is null, and what is not there at all."""

FINISHED = "finished"

ATTEMPTS = 3

LOCKED = re.compile(r"Unable to acquire lock|is busy, it is being blocked by|index\.lock")
"""What DVC says where another command, of DVC or git, is at work in the project."""
PAUSES = (1, 2, 4, 8, 15, 30)
"""Seconds to wait before each further try while the project is locked: a minute in all."""

# Messages of libraries below DVC that mean nothing to the user of this package.
for _library in ("dvc", "scmrepo"):
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
    """FINISHED, or what DVC says, such as "running": then its metrics are those of the commit it starts from."""
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
        InputError: there is no such commit, or DVC cannot read the project.
    """
    if revision and try_git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").returncode:
        raise InputError(f"{revision}: no such commit")
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

    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(1)
        try:
            return cast("list[dict[str, Any]]", dvc.api.exp_show(revs=revision, num=commits))
        except (DvcException, OSError) as error:
            # DVC looks into the folders of running experiments too, which come and go meanwhile.
            reason = error
    raise InputError(f"DVC cannot read the experiments: {reason}")


def environment(changes: Mapping[str, str | None] = MappingProxyType({})) -> dict[str, str]:
    """Return an environment in which the programs of this Python come first: DVC starts others by name.

    `changes` are variables to set, or with None to leave out.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    changed = {**os.environ, "PATH": path, **changes}
    return {key: value for key, value in changed.items() if value is not None}


def dvc_command(*arguments: str) -> list[str]:
    """Return the command line of a DVC command, of this Python."""
    return [sys.executable, "-m", "dvc", *arguments]


def dvc_output(*arguments: str) -> str:
    """Return what a DVC command prints; while another one has locked the project, try again.

    Raises:
        InputError: it failed; the message ends with what DVC said last.
    """
    for pause in (*PAUSES, None):
        done = subprocess.run(
            dvc_command(*arguments), env=environment(), capture_output=True, text=True, check=False
        )
        if not done.returncode:
            return done.stdout
        if pause is None or not is_locked(done.stderr):
            break
        time.sleep(pause)
    raise InputError(f"`dvc {' '.join(arguments)}` failed: {last_error(done.stderr)}")


def is_locked(said: str) -> bool:
    """Return whether DVC failed only because another command was at work in the project."""
    return any(LOCKED.search(line) for line in said.splitlines() if line.startswith("ERROR"))


def last_error(said: str) -> str:
    """Return the last error among the lines of a failed command, in the words of a stage where one has failed."""
    lines = said.strip().splitlines()
    for beginning in ("error: ", "ERROR: "):
        errors = [line.removeprefix(beginning) for line in lines if line.startswith(beginning)]
        if errors:
            return errors[-1]
    return lines[-1] if lines else "it said nothing"


def try_git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a git command in the working directory, whether or not it succeeds."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)


def run_git(*arguments: str) -> str:
    """Run a git command in the working directory; return what it says.

    Raises:
        InputError: it failed; the message ends with what git said.
    """
    done = try_git(*arguments)
    if done.returncode:
        raise InputError(f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def has_data_remote() -> bool:
    """Return whether DVC has a default remote to push data to."""
    return bool(dvc_output("config", "core.remote").strip())


def file_at(revision: str | None, path: str) -> str | None:
    """Return the text of a file in a commit, from git or DVC's cache, or in the workspace; None without one."""
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return str(dvc.api.read(path, rev=revision))
    except (FileNotFoundError, DvcException):
        return None


def fetch(revision: str, paths: Sequence[str], folder: Path) -> list[Path]:
    """Copy files as they are in a commit, from git or DVC's cache, into a folder; return where they are now.

    Raises:
        InputError: one is in neither; the message names it.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    copies = []
    files = DVCFileSystem(rev=revision)
    for path in paths:
        copy = folder / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get_file(path, str(copy))
        except (FileNotFoundError, DvcException) as error:
            raise InputError(f"{path} of {revision[:7]} is not in the cache; fetch it with `dvc pull`") from error
        copies.append(copy)
    return copies


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
