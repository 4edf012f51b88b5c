"""Outputs that are either complete or absent, digests, and folders that outlive a run."""

import csv
import hashlib
import io
import json
import mmap
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from microseg.common.errors import InputError
from microseg.common.tables import as_text

LONGEST_NAME = 200
"""Bytes of the longest file name that is accepted. Names of outputs add to it; file systems allow 255."""
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|(COM|LPT)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices, whatever their suffix."""

HOME_VARIABLE = "MICROSEG_HOME"
"""The environment variable with the folder to use instead of `.microseg/` of the project."""


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file moves to `path` when the block ends without an error."""
    partial = _partial(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    try:
        yield partial
        partial.replace(path)
    finally:
        remove(partial)


def check_writable(path: Path) -> None:
    """Raise an InputError if no file can be written at `path`, before the work that it is for."""
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise InputError(f"{path}: cannot be written; give the path of a file in a folder that can")


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces `path` when the block ends without an error."""
    partial = _partial(path)
    remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        remove(path)
        partial.rename(path)
    finally:
        remove(partial)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def remove(path: Path) -> None:
    """Remove the file or folder at `path`, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_file_name(name: str) -> bool:
    """Return whether `name` is valid as the name of a file in a folder, on every system and in every table."""
    plain = name == name.strip() and name.isprintable() and name not in ("", ".", "..")
    return plain and not set(name) & set('/\\:*?"<>|;') and can_name_outputs(name)


def can_name_outputs(name: str) -> bool:
    """Return whether outputs can be named after a file: UTF-8, not too long, nothing that Windows reserves.

    Nor may it be a formula in a table (`as_text`).
    """
    fits = is_utf8(name) and len(name.encode()) <= LONGEST_NAME
    return fits and not RESERVED.fullmatch(name) and as_text(name) == name


def is_utf8(path: Path | str) -> bool:
    """Return whether outputs can name a path: Python reads other bytes as halves of UTF-16 surrogate pairs."""
    return not re.search("[\ud800-\udfff]", str(path))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON; ValueError for NaN and Infinity, which JSON does not have."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with output_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated table row by row, so that long tables need not fit in memory.

    No cell is a formula to a spreadsheet (`as_text`).
    """
    with output_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(map(as_text, row) for row in rows)


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_digest(file: io.BufferedRandom) -> None:
    """End a file, open for reading and writing, with the digest of its content; see `is_intact`."""
    file.seek(0)
    file.write(hashlib.file_digest(file, "sha256").digest())


def is_intact(path: Path) -> bool:
    """Return whether a file ends with the digest of what is before, so that no byte of it has changed."""
    size = hashlib.sha256().digest_size
    if path.stat().st_size <= size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(memoryview(content)[:-size]).digest() == content[-size:]


def project_root(start: Path | None = None) -> Path:
    """Return the DVC project that holds `start` (default: the working directory), or `start` if there is none.

    Of a copy in which DVC runs an experiment, below `.dvc/tmp/exps`, this is the original project.
    """
    here = (start or Path.cwd()).resolve()
    projects = [folder for folder in (here, *here.parents) if (folder / ".dvc" / "config").is_file()]
    copied = [folder for folder in projects if folder / ".dvc" / "tmp" / "exps" in here.parents]
    return next(iter(copied + projects), here)


def shared_folder(name: str) -> Path:
    """Return (and create) the folder `name` for what outlives a run, such as "downloads" or "checkpoints".

    It is in `.microseg/` of the project or, to be shared by several clones, in the folder of MICROSEG_HOME.
    """
    home = os.environ.get(HOME_VARIABLE)
    folder = (Path(home) if home else project_root() / ".microseg") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def limit_bytes(variable: str, default_gigabytes: float) -> float:
    """Return how many bytes a shared folder may take: an environment variable in gigabytes, or a default."""
    text = os.environ.get(variable, str(default_gigabytes))
    try:
        return float(text) * 1e9
    except ValueError:
        raise InputError(f"{variable} is {text!r}; set it to a number of gigabytes") from None
