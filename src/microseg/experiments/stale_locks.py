"""Stale locks: what a killed DVC command leaves behind, which would stop every later one.

`python -m microseg.experiments.stale_locks` removes unreadable locks and abandoned copies of the project, as
`make repro` and every sweep do before they start.
"""

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from microseg.common.files import project_root

log = logging.getLogger(__name__)

LOCKS = (Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/exps/rwlock"))
COPIES = Path(".dvc/tmp/exps/standalone")
"""Where DVC keeps the copies of the project in which `dvc exp run --temp` works."""

SINGLE_EXPERIMENT = "microseg.experiments.single_experiment"
"""The module that is DVC's command line for the experiments of a sweep."""

DVC = {"dvc", "dvc.exe", SINGLE_EXPERIMENT}
"""Names of the program, one of which is among the first words of its command line."""


def clear_stale_locks(project: Path | None = None) -> list[Path]:
    """Remove stale locks and copies from a project (default: this one), unless DVC is running; return their paths.

    DVC empties and rewrites its record of readers and writers (`rwlock`) at each change, and refuses every command
    if it was killed half-way (https://github.com/treeverse/dvc/issues/7615). The record only concerns processes
    that are running, so it can be removed once there are none.
    """
    root = (project or project_root()).resolve()
    found = list(_stale_paths(root))
    if not found or any(True for _ in dvc_processes(root)):
        return []
    # A command that ended in the meantime has repaired its record and removed its copy.
    stale = [path for path in _stale_paths(root) if path in found]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        log.warning("removed %s, left behind by a killed DVC command", path.relative_to(root))
    return stale


def dvc_processes(project: Path) -> Iterator[list[str]]:
    """Yield the command line of each DVC command running in a project or in a copy of it below `.dvc/tmp`."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line, folder = process.info["cmdline"] or [], process.info["cwd"]
        if (
            folder
            and Path(folder).is_relative_to(project)
            and DVC.intersection(Path(word).name for word in line[:3])
        ):
            yield line


def _stale_paths(root: Path) -> Iterator[Path]:
    for lock in LOCKS:
        if (root / lock).is_file() and not _is_readable(root / lock):
            yield root / lock
    yield from (root / COPIES).glob("tmp*")


def _is_readable(lock: Path) -> bool:
    try:
        return isinstance(json.loads(lock.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    clear_stale_locks()
