"""The folder of all checkpoints: one process at a time trains the same thing, and the whole keeps within a limit.

`python -m microseg.training.checkpoint_space` empties it.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from microseg.common.files import remove
from microseg.common.workspace import limit_bytes, shared_folder

log = logging.getLogger(__name__)

LIMIT_VARIABLE = "MICROSEG_CHECKPOINTS_GB"
DEFAULT_LIMIT_GB = 20.0


def checkpoint_root() -> Path:
    """Return the folder that all trainings of a project share."""
    return shared_folder("checkpoints")


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the one right to train in `folder`, waiting for it if need be.

    Two experiments that differ in the number of epochs share a folder: the second one waits, then finds its work
    done in part or in full. The right of a process that was killed is free at once, even while its reading
    processes live on: the lock closes itself in every fork of the process that holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another process trains the same network; waiting for it")
        lock.acquire()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        lock.release()


def make_room(current: Path) -> None:
    """Remove the folders beside `current` that were unused for longest, until all are within the limit.

    The limit is 20 GB or what the environment variable MICROSEG_CHECKPOINTS_GB says. `current` stays, and so does
    whatever another process trains in. Other processes may write, rename and remove here meanwhile.
    """
    files = {folder: _files(folder) for folder in _folders(current.parent)}
    excess = sum(size for found in files.values() for size, _ in found) - limit_bytes(
        LIMIT_VARIABLE, DEFAULT_LIMIT_GB
    )
    last_use = {folder: max((time for _, time in found), default=0.0) for folder, found in files.items()}
    for folder in sorted(files.keys() - {current}, key=lambda folder: last_use[folder]):
        if excess > 0:
            excess -= _remove_unused(folder)


def clean(root: Path) -> int:
    """Remove all checkpoints that no running process uses and return how many bytes that freed."""
    return sum(map(_remove_unused, _folders(root)))


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_suffix(".lock"))


def _remove_unused(folder: Path) -> int:
    """Remove a folder unless a process trains in it; return how many bytes that freed."""
    try:
        with _lock(folder).acquire(blocking=False):
            size = sum(size for size, _ in _files(folder))
            remove(folder)
    except Timeout:
        return 0
    log.info("removed the checkpoints %s (%.1f MB)", folder, size / 1e6)
    return size


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()]


def _files(folder: Path) -> list[tuple[int, float]]:
    """Return size in bytes and time of the last change of every file in a folder, if that is still there."""
    found = []
    # What vanishes between listing and looking was renamed or removed by another training: it takes no room.
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_size, status.st_mtime))
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    freed = clean(checkpoint_root())
    sys.stdout.write(f"{freed / 1e6:.1f} MB of checkpoints removed\n")
