"""Checkpoints: complete training states on disk, from which a training resumes bit for bit.

Trainings that differ only in their number of epochs share one folder, named after their fingerprint, with a file
for the latest epoch and for those of `train.checkpoint_epochs`. They share their first epochs, until the learning
rate depends on the end; later states have names of their own. A file is complete or absent, and ends with a digest
of its content. A training that is killed loses the current epoch and up to a minute. One process at a time trains
in a folder, and all folders together stay within a limit.

`python -m microseg.training.checkpoints` removes all of them.
"""

import logging
import os
import pickle
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout

from microseg.common.files import append_digest, is_intact, limit_bytes, output_file, remove, shared_folder
from microseg.training.records import EpochRecord, TrainingState, Validation, should_stop

log = logging.getLogger(__name__)

SECONDS_BETWEEN_SAVES = 60.0
"""Minimum time between checkpoints that are temporary: that of a large network takes seconds to write."""


class Ending(NamedTuple):
    """The number of epochs of a training, and how many of its first ones it shares with longer trainings."""

    epochs: int
    shared: int


class CheckpointFolder:
    """The checkpoints of trainings that differ in their number of epochs.

    `shared_epochs` returns for that number how many first epochs such a training shares with longer ones.
    """

    def __init__(
        self,
        folder: Path,
        checkpoint_epochs: Collection[int],
        shared_epochs: Callable[[int], int] = lambda epochs: epochs,
    ) -> None:
        self.folder = folder
        self.checkpoint_epochs = frozenset(checkpoint_epochs)
        self.shared_epochs = shared_epochs
        self.last_save: float | None = None

    def latest(self, epochs: int, patience: int | None) -> TrainingState | None:
        """Return the latest state that a training of at most `epochs` goes through; None if there is none."""
        own = self._ending(epochs)
        for epoch, ending, path in sorted(self._files(), key=lambda file: file[0], reverse=True):
            goes_through = epoch <= own.shared if ending is None else ending == own
            state = _read(path) if goes_through else None
            if state and not should_stop(state.records[:-1], epochs, patience):
                return state
        return None

    def should_save(self, epoch: int, epochs: int) -> bool:
        """Return whether to save the state after an epoch that is not the last one of `epochs`.

        The first state is always saved, so that a folder without write permission is noticed early.
        """
        if epoch in self._permanent_epochs(epoch, epochs) or self.last_save is None:
            return True
        return time.monotonic() - self.last_save >= SECONDS_BETWEEN_SAVES

    def save(self, state: TrainingState, epochs: int, *, required: bool = True) -> None:
        """Write a state of a training of `epochs` epochs, then remove its earlier temporary checkpoints.

        Raises:
            OSError: it cannot be written, which is only a warning where it is not `required` and permitted.
        """
        own = self._ending(epochs)
        self.last_save = time.monotonic()
        path = self._path(state.epoch, own)
        try:
            _write(state, path)
        except OSError as error:
            if required or isinstance(error, PermissionError):
                raise
            log.warning("%s cannot be written (%s); the training continues without it", path, error.strerror)
            return
        for epoch, ending, path in self._files():
            is_permanent = epoch in self._permanent_epochs(epoch, epochs)
            if ending in (None, own) and epoch < state.epoch and not is_permanent:
                path.unlink(missing_ok=True)
        evict(self.folder)

    def _ending(self, epochs: int) -> Ending:
        return Ending(epochs, self.shared_epochs(epochs))

    def _permanent_epochs(self, epoch: int, epochs: int) -> Collection[int]:
        """Return `checkpoint_epochs`; among shared epochs, the last ones that trainings of that length share."""
        if epoch > self.shared_epochs(epochs):
            return self.checkpoint_epochs
        return {self.shared_epochs(last) for last in self.checkpoint_epochs | {epochs}}

    def _files(self) -> Iterator[tuple[int, Ending | None, Path]]:
        """Yield epoch, ending (None for a shared epoch) and path of every checkpoint."""
        for path in list(self.folder.iterdir()):
            match = re.fullmatch(r"epoch_(\d+)(?:_of_(\d+)_from_(\d+))?\.pt", path.name)
            if match:
                yield int(match[1]), Ending(int(match[2]), int(match[3])) if match[2] else None, path

    def _path(self, epoch: int, ending: Ending) -> Path:
        suffix = f"_of_{ending.epochs:05d}_from_{ending.shared:05d}" if epoch > ending.shared else ""
        return self.folder / f"epoch_{epoch:05d}{suffix}.pt"


def _write(state: TrainingState, path: Path) -> None:
    content = {name: value for name, value in vars(state).items() if name != "records"}
    with output_file(path) as partial, partial.open("w+b") as file:
        try:
            torch.save(content | {"records": [asdict(record) for record in state.records]}, file)
        except RuntimeError as error:
            # What torch raises on a full disk, while it handles the error of the file.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        append_digest(file)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> TrainingState | None:
    """Return the state in a file; None, with a warning, if it cannot be read or a byte of it has changed."""
    # Without what torch says: it advises weights_only=False, which would execute code in the file.
    reason = "damaged, or not a checkpoint"
    try:
        with suppress(RuntimeError, pickle.UnpicklingError, KeyError, TypeError):
            if is_intact(path):
                content = torch.load(path, map_location="cpu", weights_only=True)
                records = tuple(map(_record_from, content.pop("records")))
                return TrainingState(records=records, **content)
    except OSError as error:
        reason = str(error.strerror)
    log.warning("%s cannot be read (%s); using an earlier checkpoint, if there is one", path, reason)
    return None


def _record_from(content: dict[str, Any]) -> EpochRecord:
    validation = content["validation"]
    return EpochRecord(**content | {"validation": validation and Validation(**validation)})


LIMIT_VARIABLE = "MICROSEG_CHECKPOINTS_GB"
DEFAULT_LIMIT_GB = 20.0


def checkpoint_root() -> Path:
    """Return the folder of all checkpoints of a project."""
    return shared_folder("checkpoints")


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which allows to train in it; wait until it is free.

    A process that waits finds its work partly or completely done. The lock of a killed one is free at once, even
    while its data loader workers are still running: it closes itself in every fork of the process that holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another process is training the same network; waiting for it")
        lock.acquire()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        lock.release()


def evict(current: Path) -> None:
    """Remove the least recently used folders beside `current` until all folders are within the limit.

    The limit is 20 GB or the value of the environment variable MICROSEG_CHECKPOINTS_GB. `current` and folders in
    which another process trains stay.
    """
    files = {folder: _sizes_and_times(folder) for folder in _folders(current.parent)}
    limit = limit_bytes(LIMIT_VARIABLE, DEFAULT_LIMIT_GB)
    excess = sum(size for found in files.values() for size, _ in found) - limit
    last_use = {folder: max((time for _, time in found), default=0.0) for folder, found in files.items()}
    for folder in sorted(files.keys() - {current}, key=lambda folder: last_use[folder]):
        if excess > 0:
            excess -= _remove_unused(folder)


def remove_all(root: Path) -> int:
    """Remove all checkpoints that no running process uses; return the number of bytes freed."""
    return sum(map(_remove_unused, _folders(root)))


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_suffix(".lock"))


def _remove_unused(folder: Path) -> int:
    """Remove a folder unless a process trains in it; return the number of bytes freed."""
    try:
        with _lock(folder).acquire(blocking=False):
            size = sum(size for size, _ in _sizes_and_times(folder))
            remove(folder)
    except (Timeout, PermissionError):  # in use, or of another user
        return 0
    log.info("removed the checkpoints %s (%.1f MB)", folder, size / 1e6)
    return size


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()]


def _sizes_and_times(folder: Path) -> list[tuple[int, float]]:
    """Return size in bytes and modification time of every file in a folder; [] if the folder is gone."""
    found = []
    # A file that disappears after it was listed was renamed or removed by another training: it takes no space.
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_size, status.st_mtime))
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    freed = remove_all(checkpoint_root())
    sys.stdout.write(f"{freed / 1e6:.1f} MB of checkpoints removed\n")
