"""The folder of all checkpoints: one process at a time trains the same thing, and the whole keeps within a limit.

`python -m microseg.training.checkpoint_space` empties it.
"""

import fcntl
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from microseg.common.errors import InputError
from microseg.common.files import remove
from microseg.common.workspace import shared_folder

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
    processes live on: locks of this kind do not pass to children.
    """
    with _lock_file(folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process trains the same network; waiting for it")
            fcntl.lockf(file, fcntl.LOCK_EX)
        folder.mkdir(parents=True, exist_ok=True)
        yield


def make_room(current: Path) -> None:
    """Remove the folders beside `current` that were unused for longest, until all are within the limit.

    The limit is 20 GB or what the environment variable MICROSEG_CHECKPOINTS_GB says. `current` stays, and so does
    whatever another process trains in.
    """
    folders = [folder for folder in current.parent.iterdir() if folder.is_dir()]
    excess = sum(map(_size, folders)) - _limit_bytes()
    for folder in sorted(set(folders) - {current}, key=_last_use):
        if excess > 0:
            excess -= _remove_unused(folder)


def clean(root: Path) -> int:
    """Remove all checkpoints that no running process uses and return how many bytes that freed."""
    return sum(_remove_unused(folder) for folder in root.iterdir() if folder.is_dir())


def _lock_file(folder: Path) -> IO[str]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_suffix(".lock").open("w", encoding="utf-8")


def _remove_unused(folder: Path) -> int:
    size = _size(folder)
    with _lock_file(folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        remove(folder)
    log.info("removed the checkpoints %s (%.1f MB)", folder, size / 1e6)
    return size


def _limit_bytes() -> float:
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT_GB))
    try:
        return float(text) * 1e9
    except ValueError:
        raise InputError(f"{LIMIT_VARIABLE} is {text!r}; set it to a number of gigabytes") from None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _last_use(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.iterdir()), default=0.0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    freed = clean(checkpoint_root())
    sys.stdout.write(f"{freed / 1e6:.1f} MB of checkpoints removed\n")
