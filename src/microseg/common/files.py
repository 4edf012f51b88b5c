"""Outputs that are either complete or absent, digests, and the folders that outlive a run.

Every output is written beside its final path and then renamed. Tables are written by Python's csv module: rows
come one at a time, and pandas would have to hold them all.
"""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from microseg.common.errors import InputError


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def remove(path: Path) -> None:
    """Remove the file or folder at `path`, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; move what was written to `path` once the block has ended without an error."""
    partial = _partial(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    try:
        yield partial
        partial.replace(path)
    finally:
        remove(partial)


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of `path` once the block has ended without an error."""
    partial = _partial(path)
    remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        remove(path)
        partial.rename(path)
    finally:
        remove(partial)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, refusing the NaN and Infinity that JSON does not have."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with output_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated table with `header` as its first line."""
    with output_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


ENVIRONMENT_VARIABLE = "MICROSEG_HOME"


def project_root(start: Path | None = None) -> Path:
    """Return the DVC project that holds `start` (default: the working directory), outside of any `start` itself.

    DVC runs queued and temporary experiments in copies below `.dvc/tmp/exps` of a project; for them it is the
    project that was copied, which all of its experiments share.
    """
    here = (start or Path.cwd()).resolve()
    projects = [folder for folder in (here, *here.parents) if (folder / ".dvc" / "config").is_file()]
    copied = [folder for folder in projects if folder / ".dvc" / "tmp" / "exps" in here.parents]
    return next(iter(copied + projects), here)


def shared_folder(name: str) -> Path:
    """Return (and make) the folder `name` for what outlives a run, such as "downloads" or "checkpoints".

    It lies in `.microseg/` of the project, which git ignores, or where the environment variable MICROSEG_HOME
    points, so that several clones or machines can use one.
    """
    home = os.environ.get(ENVIRONMENT_VARIABLE)
    folder = (Path(home) if home else project_root() / ".microseg") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def limit_bytes(variable: str, default_gigabytes: float) -> float:
    """Return how many bytes a shared folder may take, by an environment variable in gigabytes or a default.

    Raises:
        InputError: the variable is set to something that is no number.
    """
    text = os.environ.get(variable, str(default_gigabytes))
    try:
        return float(text) * 1e9
    except ValueError:
        raise InputError(f"{variable} is {text!r}; set it to a number of gigabytes") from None
