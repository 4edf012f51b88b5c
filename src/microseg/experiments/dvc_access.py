"""Access to DVC and git, here alone: the table of experiments, files of other commits, and commands of both.

The table and files of other commits are read through `dvc.api`; everything else uses the commands that a user
would type. DVC's table has numbers and text only; `cell` converts the value of a parameter to the same form.
"""

import json
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
from microseg.common.params_file import flatten

Cell = float | str
MISSING = "None"
"""What DVC's table has for null and for missing values."""

FINISHED = "finished"
WORKSPACE = "workspace"
"""The name of the working tree in DVC's table."""

ATTEMPTS = 3

STANDARD_ERROR = 2
"""Its file descriptor."""

LOCKED = re.compile(r"Unable to acquire lock|is busy, it is being blocked by|index\.lock")
"""DVC prints this while another command, of DVC or git, is running in the project."""
PAUSES = (1, 2, 4, 8, 15, 30)
"""Seconds to wait before each further attempt while the project is locked: a minute in total."""

# Their messages mean nothing to the user of this package.
for _library in ("dvc", "scmrepo"):
    logging.getLogger(_library).setLevel(logging.ERROR)


def cell(value: object) -> Cell:
    """Return the value of a parameter as in DVC's table: numbers as float, everything else as text."""
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
    """FINISHED, or another state of DVC, such as "running": then the metrics are those of the base commit."""
    cells: Mapping[str, Cell | None]

    def parameter(self, key: str) -> Cell:
        """Return the value of a parameter, MISSING where there is none."""
        return self._cell("params.yaml", key)

    def metric(self, file: str, key: str) -> Cell:
        """Return the value of a metric in a metrics file, MISSING where there is none."""
        return self._cell(file, key)

    def _cell(self, file: str, key: str) -> Cell:
        # DVC prefixes the key with the file where two files have the same key.
        value = self.cells.get(f"{file}:{key}")
        value = self.cells.get(key) if value is None else value
        return MISSING if value is None else value


def experiment_table(commits: int = 1, revision: str | None = None, reports: Sequence[str] = ()) -> list[Row]:
    """Return the rows of DVC's table: the workspace first, then each commit followed by its experiments.

    It goes back `commits` commits (negative: all of the branch) from `revision` or the current one. The values in
    `reports`, JSON files in git, are added to the rows.
    """
    if revision and try_git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").returncode:
        raise InputError(f"{revision}: no such commit")
    table = _retry_exp_show(commits, revision)
    return [
        Row(
            name=line["Experiment"] or "",
            revision=line["rev"],
            state={None: FINISHED, "Success": FINISHED}.get(line["State"], str(line["State"]).lower()),
            cells={**line, **_report_cells(line, reports)},
        )
        for line in table
    ]


def _report_cells(line: Mapping[str, Any], reports: Sequence[str]) -> dict[str, Cell]:
    """Return the values of reports for a line of DVC's table, as DVC would show them: {"file:a.b": 1.0}."""
    cells = {}
    for path in reports:
        text = committed_text(None if line["rev"] == WORKSPACE else line["rev"], path)
        for key, value in flatten(json.loads(text)).items() if text else ():
            if not isinstance(value, list):
                cells[f"{path}:{key}"] = cell(value)
    return cells


def committed_text(revision: str | None, path: str) -> str | None:
    """Return the text of a file tracked by git in a commit or, with None, in the workspace; None without one."""
    if revision is None:
        return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None
    done = try_git("show", f"{revision}:{path}")
    return None if done.returncode else done.stdout


def _retry_exp_show(commits: int, revision: str | None) -> list[dict[str, Any]]:
    import dvc.api  # takes a second
    from dvc.exceptions import DvcException

    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(1)
        try:
            return cast("list[dict[str, Any]]", dvc.api.exp_show(revs=revision, num=commits))
        except (DvcException, OSError) as error:
            # DVC also reads the folders of running experiments, which may disappear meanwhile.
            reason = error
    raise InputError(f"DVC cannot read the experiments: {reason}")


def environment(changes: Mapping[str, str | None] = MappingProxyType({})) -> dict[str, str]:
    """Return an environment with the programs of this Python first in PATH: DVC starts some by name.

    `changes` are variables to set, or with None to unset.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    changed = {**os.environ, "PATH": path, **changes}
    return {key: value for key, value in changed.items() if value is not None}


def dvc_command(*arguments: str) -> list[str]:
    """Return the command line that runs a DVC command with this Python."""
    return [sys.executable, "-m", "dvc", *arguments]


def dvc_output(*arguments: str) -> str:
    """Return what a DVC command prints, or raise InputError with DVC's last error.

    While another command locks the project, it is tried again for a minute.
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


def reproduce(*stages: str) -> None:
    """Run `dvc repro` for some stages, which show their progress; InputError where one fails.

    While another command locks the project, DVC waits, and says so in a terminal.
    """
    command = dvc_command("--wait-for-lock", "repro", *stages)
    # Both go to standard error: standard output is for what the command finds.
    done = subprocess.run(command, env=environment(), stdout=STANDARD_ERROR, check=False)
    if done.returncode:
        raise InputError(f"`dvc repro {' '.join(stages)}` failed, see above")


def is_locked(output: str) -> bool:
    """Return whether DVC failed only because another command was running in the project."""
    return any(LOCKED.search(line) for line in output.splitlines() if line.startswith("ERROR"))


def last_error(output: str) -> str:
    """Return the last error in the output of a failed command; the error of a stage goes before those of DVC."""
    lines = output.strip().splitlines()
    for prefix in ("error: ", "ERROR: "):
        errors = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
        if errors:
            return errors[-1]
    return lines[-1] if lines else "no output"


def try_git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a git command in the working directory, whether or not it succeeds."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)


def run_git(*arguments: str) -> str:
    """Run a git command in the working directory; return what it prints, or raise InputError with git's error."""
    done = try_git(*arguments)
    if done.returncode:
        raise InputError(f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def has_data_remote() -> bool:
    """Return whether DVC has a default remote to push data to."""
    return bool(dvc_output("config", "core.remote").strip())


def file_at(revision: str | None, path: str) -> str | None:
    """Return the text of a file in a commit, from git or DVC's cache, or with None in the workspace.

    None where there is no such file.
    """
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return str(dvc.api.read(path, rev=revision))
    except (FileNotFoundError, DvcException):
        return None


def fetch(revision: str, paths: Sequence[str], folder: Path) -> None:
    """Copy files of a commit, from git or DVC's cache, into a folder; InputError names a file in neither."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    files = DVCFileSystem(rev=revision)
    for path in paths:
        copy = folder / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get_file(path, str(copy))
        except (FileNotFoundError, DvcException) as error:
            raise InputError(
                f"{path} of {revision[:7]} is not in DVC's cache; fetch it with `dvc pull`"
            ) from error


def head() -> str:
    """Return the current commit."""
    return run_git("rev-parse", "--verify", "HEAD").strip()


def changed_files() -> list[str]:
    """Return the files under version control that differ from the current commit."""
    return run_git("diff", "--name-only", "HEAD").split("\n")[:-1]


def finished_names(commit: str) -> set[str]:
    """Return the names of the finished experiments of a commit; faster than the whole table."""
    return set(run_git("for-each-ref", "--format=%(refname:lstrip=4)", experiment_reference(commit, "")).split())


def experiment_reference(commit: str, name: str) -> str:
    """Return the git reference under which DVC keeps a finished experiment."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"
