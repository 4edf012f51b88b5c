"""Complete states of trainings on disk, from which they go on as if nothing had happened.

Trainings that differ in their number of epochs alone have one folder, named after their fingerprint, with one file
an epoch: the newest one, and those of `train.keep_epochs`. The first epochs of a training are those of all longer
ones, up to where the learning rate depends on the end: from there on its states are its own, and say so in their
names. A file is written beside its place and renamed, so each is either complete or not there. A training that is
killed loses a minute and what of an epoch came on top.
"""

import logging
import os
import pickle
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from microseg.common.files import output_file
from microseg.training.checkpoint_space import make_room
from microseg.training.history import EpochRecord, Validation, is_over
from microseg.training.state import TrainingState

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
        keep_epochs: Collection[int],
        shared_epochs: Callable[[int], int] = lambda epochs: epochs,
    ) -> None:
        self.folder = folder
        self.keep_epochs = frozenset(keep_epochs)
        self.shared_epochs = shared_epochs
        self.last_save: float | None = None

    def latest(self, epochs: int, early_stopping: int | None) -> TrainingState | None:
        """Return the latest state that a training of at most `epochs` passes through, None where there is none."""
        here = self._ending(epochs)
        for epoch, ending, path in sorted(self._states(), key=lambda state: state[0], reverse=True):
            passed = epoch <= here.shared if ending is None else ending == here
            state = self._read(path) if passed else None
            if state and not is_over(state.records[:-1], epochs, early_stopping):
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
        make_room(self.folder)
        self.last_save = time.monotonic()

    def _ending(self, epochs: int) -> Ending:
        return Ending(epochs, self.shared_epochs(epochs))

    def _kept(self, epoch: int, epochs: int) -> Collection[int]:
        """Return `keep_epochs`; of shared epochs, those from which trainings of so many go their own way."""
        if epoch > self.shared_epochs(epochs):
            return self.keep_epochs
        return {self.shared_epochs(last) for last in self.keep_epochs | {epochs}}

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
