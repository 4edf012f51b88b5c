"""Checkpoints: complete states of trainings on disk, from which they resume as if nothing had happened.

Trainings that differ in their number of epochs alone share one folder, named after their fingerprint, with one
file an epoch: the newest one, and those of `train.checkpoint_epochs`. The first epochs of a training are those of
all longer ones, up to where the learning rate depends on the end: from there on its states are its own, and say so
in their names. A file is written beside its final path and renamed, so each is either complete or absent. A
training that is killed loses a minute, plus the rest of its current epoch. One process at a time trains in a
folder, and all folders together stay within a limit.

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

from microseg.common.files import limit_bytes, output_file, remove, shared_folder
from microseg.training.records import EpochRecord, TrainingState, Validation, should_stop

log = logging.getLogger(__name__)

SECONDS_BETWEEN_SAVES = 60.0
"""How often epochs that are not kept are saved: the state of a large network takes seconds to write."""


class Ending(NamedTuple):
    """What the epochs depend on that a training shares with no longer one."""

    epochs: int
    """The number of epochs of the training."""
    shared: int
    """How many of them, the first ones, it shares with longer ones."""


class CheckpointFolder:
    """The states of one training, or of several that differ in their number of epochs.

    `shared_epochs` says how many of its first epochs a training of so many epochs shares with all longer ones.
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
        """Return the latest state that a training of at most `epochs` passes through, None where there is none."""
        here = self._ending(epochs)
        for epoch, ending, path in sorted(self._states(), key=lambda state: state[0], reverse=True):
            passed = epoch <= here.shared if ending is None else ending == here
            state = self._read(path) if passed else None
            if state and not should_stop(state.records[:-1], epochs, patience):
                return state
        return None

    def is_due(self, epoch: int, epochs: int) -> bool:
        """Return whether the state after an epoch is to be saved, which need not be the last one of `epochs`.

        The first one is, so that a folder that cannot be written to is found out early.
        """
        if epoch in self._kept(epoch, epochs) or self.last_save is None:
            return True
        return time.monotonic() - self.last_save >= SECONDS_BETWEEN_SAVES

    def save(self, state: TrainingState, epochs: int) -> None:
        """Write a state of a training of `epochs` epochs, then remove the earlier ones that need not be kept."""
        here = self._ending(epochs)
        with output_file(self._path(state.epoch, here)) as partial, partial.open("wb") as file:
            content = {name: value for name, value in vars(state).items() if name != "records"}
            torch.save(content | {"records": [asdict(record) for record in state.records]}, file)
            file.flush()
            os.fsync(file.fileno())
        for epoch, ending, path in self._states():
            if ending in (None, here) and epoch < state.epoch and epoch not in self._kept(epoch, epochs):
                path.unlink(missing_ok=True)
        evict(self.folder)
        self.last_save = time.monotonic()

    def _ending(self, epochs: int) -> Ending:
        return Ending(epochs, self.shared_epochs(epochs))

    def _kept(self, epoch: int, epochs: int) -> Collection[int]:
        """Return `checkpoint_epochs`; of shared epochs, those from which trainings of so many go their own way."""
        if epoch > self.shared_epochs(epochs):
            return self.checkpoint_epochs
        return {self.shared_epochs(last) for last in self.checkpoint_epochs | {epochs}}

    def _states(self) -> Iterator[tuple[int, Ending | None, Path]]:
        """Yield the epoch of every state, the ending it belongs to (None for a shared epoch), and its file."""
        for path in list(self.folder.iterdir()):
            match = re.fullmatch(r"epoch_(\d+)(?:_of_(\d+)_from_(\d+))?\.pt", path.name)
            if match:
                yield int(match[1]), Ending(int(match[2]), int(match[3])) if match[2] else None, path

    def _path(self, epoch: int, ending: Ending) -> Path:
        own = f"_of_{ending.epochs:05d}_from_{ending.shared:05d}" if epoch > ending.shared else ""
        return self.folder / f"epoch_{epoch:05d}{own}.pt"

    def _read(self, path: Path) -> TrainingState | None:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            records = tuple(map(_record_from, content.pop("records")))
            return TrainingState(records=records, **content)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s); going on without it", path, error)
            return None


def _record_from(content: dict[str, Any]) -> EpochRecord:
    measured = content["validation"]
    return EpochRecord(**content | {"validation": measured and Validation(**measured)})


LIMIT_VARIABLE = "MICROSEG_CHECKPOINTS_GB"
DEFAULT_LIMIT_GB = 20.0


def checkpoint_root() -> Path:
    """Return the folder that all trainings of a project share."""
    return shared_folder("checkpoints")


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
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


def evict(current: Path) -> None:
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


def remove_all(root: Path) -> int:
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
    freed = remove_all(checkpoint_root())
    sys.stdout.write(f"{freed / 1e6:.1f} MB of checkpoints removed\n")
