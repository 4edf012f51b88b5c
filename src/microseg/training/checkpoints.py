"""Complete states of trainings on disk, from which they go on as if nothing had happened.

One training has one folder, named after its fingerprint, with one file an epoch: the newest one, and those of
`train.keep_epochs`. A file is written beside its place and renamed, so each is either complete or not there.
"""

import logging
import os
import pickle
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


class CheckpointFolder:
    """The states of one training."""

    def __init__(self, folder: Path, keep_epochs: Collection[int]) -> None:
        self.folder = folder
        self.keep_epochs = frozenset(keep_epochs)

    def latest(self, epochs: int, early_stopping: int | None) -> TrainingState | None:
        """Return the latest state that a training of at most `epochs` passes through, None where there is none."""
        for epoch in sorted(self._epochs(), reverse=True):
            if epoch > epochs:
                continue
            state = self._read(epoch)
            if state and not is_over(state.records[:-1], epochs, early_stopping):
                return state
        return None

    def save(self, state: TrainingState) -> None:
        """Write a state, then remove the earlier ones that are not among `keep_epochs`."""
        with output_file(self._path(state.epoch)) as partial, partial.open("wb") as file:
            content = {name: value for name, value in vars(state).items() if name != "records"}
            torch.save(content | {"records": [asdict(record) for record in state.records]}, file)
            file.flush()
            os.fsync(file.fileno())
        for epoch in self._epochs():
            if epoch < state.epoch and epoch not in self.keep_epochs:
                self._path(epoch).unlink(missing_ok=True)
        make_room(self.folder)

    def _epochs(self) -> list[int]:
        matches = (re.fullmatch(r"epoch_(\d+)\.pt", path.name) for path in self.folder.iterdir())
        return [int(match[1]) for match in matches if match]

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:05d}.pt"

    def _read(self, epoch: int) -> TrainingState | None:
        path = self._path(epoch)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            records = tuple(EpochRecord(**record) for record in content.pop("records"))
            return TrainingState(records=records, **content)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s); going on without it", path, error)
            return None
