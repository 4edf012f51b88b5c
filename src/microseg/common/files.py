"""Outputs that are either complete or not there: everything is written beside its place, then renamed.

Tables are written by Python's csv: their rows come one by one, and pandas would have to hold them all.
"""

import csv
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
