"""The records of a training: what happened in each epoch, and its complete state between two of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Validation:
    """The metrics of a validation, averaged over whole validation micrographs."""

    loss: float
    iou: float
    """Intersection over union of logits above 0; 0 to 1."""
    predicted_foreground: float
    """Fraction of the pixels predicted as foreground; 0 to 1."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training."""

    epoch: int
    """Its number; the first is 1."""
    train_loss: float
    """Loss during training, averaged over the crops of the epoch."""
    lr: float
    """Learning rate of its last step."""
    seconds: float
    """Wall time of its steps."""
    waiting_seconds: float
    """How much of it the device waited for a batch."""
    validation: Validation | None = None
    """None if the epoch was not validated."""
    validation_seconds: float = 0.0
    """Wall time of its validation, in addition."""


def is_regular(epoch: int, validate_every: int) -> bool:
    """Return whether an epoch is validated in a training of any length; the last epoch always is."""
    return epoch % validate_every == 0


def best_record(records: Sequence[EpochRecord]) -> EpochRecord:
    """Return the validated epoch with the highest IoU; the lowest loss, then the first epoch, breaks ties.

    As long as the network predicts no foreground, all IoUs are 0, and the loss shows which weights come closest.

    Raises:
        ValueError: no epoch was validated.
    """
    return max(_validated(records), key=lambda pair: (pair[1].iou, -pair[1].loss))[0]


def should_stop(records: Sequence[EpochRecord], epochs: int, patience: int | None) -> bool:
    """Return whether a training of at most `epochs` ends after these epochs.

    It stops early after a validation if the last `patience` epochs brought no better one. Epochs count from the
    first one that predicted any foreground: before that, none can be better than another.
    """
    if len(records) >= epochs:
        return True
    predicting = [record.epoch for record, measured in _validated(records) if measured.predicted_foreground > 0]
    if patience is None or not predicting:
        return False
    latest = _validated(records)[-1][0].epoch
    return latest - max(best_record(records).epoch, predicting[0]) >= patience


def records_to_resume(records: tuple[EpochRecord, ...], validate_every: int) -> tuple[EpochRecord, ...]:
    """Return the records as a longer training has them: without the validation at the end of a shorter one."""
    if records and not is_regular(records[-1].epoch, validate_every):
        return (*records[:-1], replace(records[-1], validation=None, validation_seconds=0.0))
    return records


def _validated(records: Sequence[EpochRecord]) -> list[tuple[EpochRecord, Validation]]:
    return [(record, record.validation) for record in records if record.validation is not None]


Weights = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """The complete state of a training after an epoch. No random state: every draw follows from its epoch."""

    records: tuple[EpochRecord, ...]
    """One record for each epoch so far."""
    weights: Weights
    """The weights after the last epoch."""
    best_weights: Weights
    """The weights, or their EMA, after the best of the epochs that `is_regular`; empty before the first."""
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    """The state of the gradient scaler of fp16; empty for other precisions."""
    average: Weights = field(default_factory=dict)
    """The EMA of the weights, which is validated and saved instead of them; empty without EMA."""

    @property
    def epoch(self) -> int:
        """The number of complete epochs."""
        return len(self.records)

    def model(self, checkpoint: str) -> tuple[Weights, EpochRecord, Validation]:
        """Return the weights of the model, those of the `best` or the `last` epoch, with its record and metrics.

        Raises:
            ValueError: the last epoch was not validated, because the training is not complete.
        """
        last = self.records[-1]
        chosen = best_record(self.records) if checkpoint == "best" else last
        if chosen.validation is None:
            raise ValueError(f"epoch {chosen.epoch} was not validated")
        return (self.average or self.weights) if chosen is last else self.best_weights, chosen, chosen.validation


def copy_weights(network: nn.Module) -> Weights:
    """Return a copy of the weights in main memory, in the contiguous memory format."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
