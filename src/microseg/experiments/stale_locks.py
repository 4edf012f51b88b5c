"""Stale locks: what a killed DVC command leaves behind, which would stop every later one.

`python -m microseg.experiments.stale_locks` removes unreadable locks and abandoned copies of the project and puts
back an unreadable `dvc.lock`, as `make repro` and every sweep do before they start.
"""

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from microseg.common.files import output_file, project_root
from microseg.common.params_file import read_yaml
from microseg.experiments.dvc_access import try_git

log = logging.getLogger(__name__)

LOCKS = (Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/exps/rwlock"))
COPIES = Path(".dvc/tmp/exps/standalone")
"""Where DVC keeps the copies of the project in which `dvc exp run --temp` works."""

LOCK_FILES = (Path("dvc.lock"), Path("segment/dvc.lock"))
"""Where DVC keeps the digests of all results; unlike the locks above, these files are precious."""

SINGLE_EXPERIMENT = "microseg.experiments.single_experiment"
"""The module that is DVC's command line for the experiments of a sweep."""

DVC = {"dvc", "dvc.exe", SINGLE_EXPERIMENT}
"""Names of the program, one of which is among the first words of its command line."""


def clear_stale_locks(project: Path | None = None) -> list[Path]:
    """Remove stale locks and copies from a project (default: this one), unless DVC is running; return their paths.

    DVC empties and rewrites its record of readers and writers (`rwlock`) at each change, and refuses every command
    if it was killed half-way (https://github.com/treeverse/dvc/issues/7615). Without commands nothing needs it.
    A `dvc.lock` that was cut short is put back as committed; DVC's run cache has what was done since.
    """
    root = (project or project_root()).resolve()
    found = list(_stale_paths(root))
    if not found or any(True for _ in dvc_processes(root)):
        return []
    # A command that ended in the meantime has repaired its record and removed its copy.
    stale = [path for path in _stale_paths(root) if path in found]
    for path in stale:
        if path.relative_to(root) in LOCK_FILES and _put_back(root, path.relative_to(root)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        log.warning("removed %s, left behind by a killed DVC command", path.relative_to(root))
    return stale


def _put_back(root: Path, lock_file: Path) -> bool:
    """Put a lock file back as it is in the current commit; return whether it is in there."""
    committed = try_git("-C", str(root), "show", f"HEAD:./{lock_file.as_posix()}")
    if committed.returncode:
        return False
    with output_file(root / lock_file) as partial:
        partial.write_text(committed.stdout, encoding="utf-8", newline="\n")
    log.warning("%s was cut short by a killed DVC command; put back as it is committed", lock_file)
    return True


def _is_cut_short(path: Path) -> bool:
    """Return whether DVC cannot read a `dvc.lock`, and not because of a merge that the user has not finished."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # slow to import

    try:
        COMPILED_LOCKFILE_SCHEMA(read_yaml(path, "no such file"))
    except Exception:  # whatever DVC's validation raises
        return b"<<<<<<<" not in path.read_bytes()
    return False


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
    for lock_file in LOCK_FILES:
        if (root / lock_file).is_file() and _is_cut_short(root / lock_file):
            yield root / lock_file
    yield from (root / COPIES).glob("tmp*")


def _is_readable(lock: Path) -> bool:
    try:
        return isinstance(json.loads(lock.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    clear_stale_locks()
