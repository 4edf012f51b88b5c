"""All that a training is between two epochs."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from microseg.training.history import EpochRecord, Validation, best_record

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """All that a training is after an epoch. No random state is among it: every draw follows from its epoch."""

    records: tuple[EpochRecord, ...]
    """What happened so far, one record an epoch."""
    weights: Weights
    """The weights after the last of these epochs."""
    best_weights: Weights
    """The weights, or their average, after the best of the epochs that are validated however long the training is.

    Empty before the first of these epochs.
    """
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    """The loss scale of fp16; empty for other numbers."""
    average: Weights = field(default_factory=dict)
    """The moving average of the weights, which is validated and kept in their place; empty where there is none."""

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.records)

    def model(self, keep: str) -> tuple[Weights, EpochRecord, Validation]:
        """Return the weights that become the model, of the `best` or the `last` epoch, its record and measures.

        ValueError where the training has not come to its end, at which it is validated.
        """
        last = self.records[-1]
        kept = best_record(self.records) if keep == "best" else last
        if kept.validation is None:
            raise ValueError(f"epoch {kept.epoch} was not validated")
        return (self.average or self.weights) if kept is last else self.best_weights, kept, kept.validation


def copy_weights(network: nn.Module) -> Weights:
    """Return a copy of the weights in main memory, in the usual order of channels, rows and columns."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
