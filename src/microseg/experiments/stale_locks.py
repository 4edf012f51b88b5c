"""What a DVC that was killed leaves behind, so that it stops nobody: unreadable locks and folders of experiments.

`python -m microseg.experiments.stale_locks` clears it away, as `make repro` and every sweep do before they start.
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
"""What the program is called, among the first words of its command line."""


def clear_stale_locks(project: Path | None = None) -> list[Path]:
    """Remove what killed DVC commands left in a project (default: this one), unless one is at work; return what.

    DVC empties and rewrites its record of who reads and writes what (`rwlock`) at each change, and refuses every
    command once it was killed half-way (https://github.com/treeverse/dvc/issues/7615). The record says nothing
    that outlives the processes in it.
    """
    root = (project or project_root()).resolve()
    found = list(_leftovers(root))
    if not found or any(True for _ in dvc_processes(root)):
        return []
    # One that has ended meanwhile has repaired its record and removed its copy.
    left = [path for path in _leftovers(root) if path in found]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        log.warning("removed %s, left by a DVC command that was killed", path.relative_to(root))
    return left


def dvc_processes(project: Path) -> Iterator[list[str]]:
    """Yield the command line of each DVC command that works in a project or in a copy of it below `.dvc/tmp`."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line, folder = process.info["cmdline"] or [], process.info["cwd"]
        if (
            folder
            and Path(folder).is_relative_to(project)
            and DVC.intersection(Path(word).name for word in line[:3])
        ):
            yield line


def _leftovers(root: Path) -> Iterator[Path]:
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
