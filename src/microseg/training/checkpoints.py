"""Complete states of trainings on disk, from which they go on as if nothing had happened.

One training has one folder, named after its fingerprint, with one file an epoch: the newest one, and those of
`train.keep_epochs`. A file is written beside its place and renamed, so each is either complete or not there. A
training that is killed loses a minute and what of an epoch came on top.
"""

import logging
import os
import pickle
import re
import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from microseg.common.files import output_file
from microseg.training.checkpoint_space import make_room
from microseg.training.history import EpochRecord, Validation, is_over
from microseg.training.state import TrainingState

log = logging.getLogger(__name__)

SECONDS_BETWEEN_SAVES = 60.0
"""How often epochs that are not kept are saved: the state of a large network takes seconds to write."""


class CheckpointFolder:
    """The states of one training."""

    def __init__(self, folder: Path, keep_epochs: Collection[int]) -> None:
        self.folder = folder
        self.keep_epochs = frozenset(keep_epochs)
        self.last_save: float | None = None

    def latest(self, epochs: int, early_stopping: int | None) -> TrainingState | None:
        """Return the latest state that a training of at most `epochs` passes through, None where there is none."""
        for epoch in sorted(self._epochs(), reverse=True):
            if epoch > epochs:
                continue
            state = self._read(epoch)
            if state and not is_over(state.records[:-1], epochs, early_stopping):
                return state
        return None

    def is_due(self, epoch: int) -> bool:
        """Return whether the state after an epoch is to be saved, whether or not it is the last one.

        The first one is, so that a folder that cannot be written to is found out early.
        """
        if epoch in self.keep_epochs or self.last_save is None:
            return True
        return time.monotonic() - self.last_save >= SECONDS_BETWEEN_SAVES

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
        self.last_save = time.monotonic()

    def _epochs(self) -> list[int]:
        matches = (re.fullmatch(r"epoch_(\d+)\.pt", path.name) for path in self.folder.iterdir())
        return [int(match[1]) for match in matches if match]

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:05d}.pt"

    def _read(self, epoch: int) -> TrainingState | None:
        path = self._path(epoch)
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
