"""Complete states of trainings on disk, from which they go on as if nothing had happened.

Trainings that differ in their number of epochs alone have one folder, named after their fingerprint, with one file
an epoch: the newest one, and those of `train.keep_epochs`. The first epochs of a training are those of all longer
ones, up to where the learning rate depends on the end: from there on its states are its own, and say so in their
names. A file is written beside its place and renamed, so each is either complete or not there.
"""

import logging
import os
import pickle
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from microseg.common.files import output_file
from microseg.training.checkpoint_space import make_room
from microseg.training.history import EpochRecord, best_record, is_over

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """All that a training is after an epoch. No random state is among it: every draw follows from its epoch."""

    records: tuple[EpochRecord, ...]
    """What happened so far, one record an epoch."""
    weights: Weights
    """The weights after the last of these epochs."""
    best_weights: Weights
    """The weights after the best of them."""
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    """The loss scale of fp16; empty for other numbers."""

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.records)

    def model(self, keep: str) -> tuple[Weights, EpochRecord]:
        """Return the weights that become the model, of the `best` or the `last` epoch, and its record."""
        if keep == "best":
            return self.best_weights, best_record(self.records)
        return self.weights, self.records[-1]


class Ending(NamedTuple):
    """What the epochs that a training shares with no longer one depend on."""

    epochs: int
    """The number of epochs of the training."""
    shared: int
    """How many of them it shares with longer ones."""


class CheckpointFolder:
    """The states of one training, or of several that differ in their number of epochs.

    `shared_epochs` says how many of its first epochs a training of so many epochs shares with all longer ones.
    """

    def __init__(
        self, folder: Path, keep_epochs: Collection[int], shared_epochs: Callable[[int], int] = lambda epochs: epochs
    ) -> None:
        self.folder = folder
        self.keep_epochs = frozenset(keep_epochs)
        self.shared_epochs = shared_epochs

    def latest(self, epochs: int, early_stopping: int | None) -> TrainingState | None:
        """Return the latest state that a training of at most `epochs` passes through, None where there is none."""
        here = self._ending(epochs)
        for epoch, ending, path in sorted(self._states(), key=lambda state: state[0], reverse=True):
            passed = epoch <= here.shared if ending is None else ending == here and epoch <= epochs
            state = self._read(path) if passed else None
            if state and not is_over(state.records[:-1], epochs, early_stopping):
                return state
        return None

    def save(self, state: TrainingState, epochs: int) -> None:
        """Write a state of a training of `epochs` epochs, then remove the earlier ones that need not be kept.

        Kept are those of `keep_epochs`, and those from which trainings of just as many epochs go their own way.
        """
        here = self._ending(epochs)
        with output_file(self._path(state.epoch, here)) as partial, partial.open("wb") as file:
            content = {name: value for name, value in vars(state).items() if name != "records"}
            torch.save(content | {"records": [asdict(record) for record in state.records]}, file)
            file.flush()
            os.fsync(file.fileno())
        crossroads = {self.shared_epochs(last) for last in self.keep_epochs | {epochs}}
        for epoch, ending, path in self._states():
            kept = crossroads if ending is None else self.keep_epochs
            if ending in (None, here) and epoch < state.epoch and epoch not in kept:
                path.unlink(missing_ok=True)
        make_room(self.folder)

    def _ending(self, epochs: int) -> Ending:
        return Ending(epochs, self.shared_epochs(epochs))

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
            records = tuple(EpochRecord(**record) for record in content.pop("records"))
            return TrainingState(records=records, **content)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s); going on without it", path, error)
            return None
