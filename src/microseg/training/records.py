"""The records of a training: what happened in each epoch, its complete state, and the metrics it leaves."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from microseg.common.files import output_file
from microseg.network.model_card import Environment


@dataclass(frozen=True)
class Validation:
    """What is measured at the end of an epoch, averaged over the whole validation micrographs."""

    loss: float
    iou: float
    """Intersection over union of logits above 0; 0 to 1."""
    predicted_foreground: float
    """Share of the pixels that are predicted as foreground; 0 to 1."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training."""

    epoch: int
    """Its number, the first being 1."""
    train_loss: float
    """Loss during training, averaged over the crops of the epoch."""
    lr: float
    """Learning rate of its last step."""
    seconds: float
    """Wall time of its steps."""
    waiting_seconds: float
    """The part of it in which the device stood still because no batch was ready."""
    validation: Validation | None = None
    """None where the epoch was not validated."""
    validation_seconds: float = 0.0
    """Wall time of its validation, which comes on top."""


def is_regular(epoch: int, validate_every: int) -> bool:
    """Return whether an epoch is validated however long the training is: the last one is validated in any case."""
    return epoch % validate_every == 0


def best_record(records: Sequence[EpochRecord]) -> EpochRecord:
    """Return the validated epoch with the highest IoU, of equal ones that with the lowest loss, then the first.

    While the network is still silent all IoUs are 0, and the loss tells which weights are nearest to seeing
    something. ValueError where no epoch was validated.
    """
    return max(_validated(records), key=lambda pair: (pair[1].iou, -pair[1].loss))[0]


def should_stop(records: Sequence[EpochRecord], epochs: int, patience: int | None) -> bool:
    """Return whether a training of at most `epochs` ends after these epochs.

    It ends early where `patience` epochs have passed without a better one at the end of a validated epoch.
    These count only once the network has predicted foreground: before, none can be better than another.
    """
    if len(records) >= epochs:
        return True
    speaking = [record.epoch for record, measured in _validated(records) if measured.predicted_foreground > 0]
    if patience is None or not speaking:
        return False
    latest = _validated(records)[-1][0].epoch
    return latest - max(best_record(records).epoch, speaking[0]) >= patience


def records_to_resume(records: tuple[EpochRecord, ...], validate_every: int) -> tuple[EpochRecord, ...]:
    """Return the records as a longer training has them, which does not validate where a shorter one ended."""
    if records and not is_regular(records[-1].epoch, validate_every):
        return (*records[:-1], replace(records[-1], validation=None, validation_seconds=0.0))
    return records


def _validated(records: Sequence[EpochRecord]) -> list[tuple[EpochRecord, Validation]]:
    return [(record, record.validation) for record in records if record.validation is not None]


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


TRAINING_COLUMNS = ("epoch", "train_loss", "lr", "seconds")
VALIDATION_COLUMNS = ("epoch", "validation_loss", "validation_iou", "predicted_foreground")


def write_tables(training: Path, validation: Path, records: Sequence[EpochRecord]) -> None:
    """Write one line an epoch into `training`, and into `validation` one for each epoch that was validated.

    Two tables, because curves break at empty cells: single points between them would not be drawn at all.
    """
    import pandas as pd  # half a second that only the end of a training needs

    epochs = pd.json_normalize([asdict(record) for record in records], sep="_")
    validated = epochs.dropna(subset="validation_loss").rename(
        columns={"validation_predicted_foreground": "predicted_foreground"}
    )
    tables = ((training, epochs[[*TRAINING_COLUMNS]]), (validation, validated[[*VALIDATION_COLUMNS]]))
    for path, table in tables:
        with output_file(path) as partial:
            table.to_csv(partial, index=False, lineterminator="\n")


def total_seconds(records: Sequence[EpochRecord]) -> float:
    """Return the wall time of all epochs, validation included."""
    return math.fsum(record.seconds + record.validation_seconds for record in records)


def waiting_share(records: Sequence[EpochRecord]) -> float:
    """Return the share of the wall time in which the training stood still because no batch was ready; 0 to 1."""
    return math.fsum(record.waiting_seconds for record in records) / total_seconds(records)


def validating_share(records: Sequence[EpochRecord]) -> float:
    """Return the share of the wall time that went into validation; 0 to 1."""
    return math.fsum(record.validation_seconds for record in records) / total_seconds(records)


def training_metrics(
    records: Sequence[EpochRecord], kept: EpochRecord, measured: Validation, used: Environment
) -> dict[str, Any]:
    """Return the figures of metrics/train.json; `kept` is the epoch whose weights became the model."""
    return {
        "epochs": records[-1].epoch,
        "model_epoch": kept.epoch,
        "validation_iou": measured.iou,
        "validation_loss": measured.loss,
        "train_loss": kept.train_loss,
        "predicted_foreground": measured.predicted_foreground,
        "seconds": total_seconds(records),
        "waiting_for_data": waiting_share(records),
        "validating": validating_share(records),
        "environment": asdict(used),
    }
