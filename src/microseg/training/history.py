"""What happened in each epoch of a training, and what follows from it."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from microseg.common.files import write_csv


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: a line of the training log, and what is reported beside it."""

    epoch: int
    """Its number, the first being 1."""
    train_loss: float
    """Loss during training, averaged over the crops of the epoch."""
    validation_loss: float
    """Loss at the end of the epoch, averaged over the whole validation micrographs."""
    validation_iou: float
    """Intersection over union of logits above 0, averaged over the validation micrographs; 0 to 1."""
    lr: float
    """Learning rate of its last step."""
    seconds: float
    """Wall time of the epoch, validation included."""
    waiting_seconds: float
    """Wall time in which the training stood still because no batch was ready."""
    predicted_foreground: float
    """Share of the validation pixels that are predicted as foreground; 0 to 1."""


LOG_COLUMNS = tuple(field.name for field in fields(EpochRecord))[:6]
"""The columns of the training log, which are the first fields of a record."""


def best_record(records: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch with the highest validation IoU, the first of several."""
    return max(records, key=lambda record: record.validation_iou)


def is_over(records: Sequence[EpochRecord], epochs: int, early_stopping: int | None) -> bool:
    """Return whether a training of at most `epochs` ends after these epochs.

    It ends early once `early_stopping` epochs have passed without a better validation IoU.
    """
    if len(records) >= epochs:
        return True
    if early_stopping is None or not records:
        return False
    return len(records) - best_record(records).epoch >= early_stopping


def waiting_share(records: Sequence[EpochRecord]) -> float:
    """Return the share of the wall time in which the training stood still because no batch was ready; 0 to 1."""
    waiting_seconds = math.fsum(record.waiting_seconds for record in records)
    return waiting_seconds / math.fsum(record.seconds for record in records)


def write_log(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write one line an epoch, with the columns `LOG_COLUMNS`."""
    write_csv(path, LOG_COLUMNS, (astuple(record)[: len(LOG_COLUMNS)] for record in records))


def training_metrics(records: Sequence[EpochRecord], kept: EpochRecord) -> dict[str, int | float]:
    """Return the figures of metrics/train.json; `kept` is the epoch whose weights became the model."""
    last = records[-1]
    return {
        "epochs": last.epoch,
        "model_epoch": kept.epoch,
        "validation_iou": kept.validation_iou,
        "validation_loss": kept.validation_loss,
        "train_loss": kept.train_loss,
        "predicted_foreground": kept.predicted_foreground,
        "seconds": math.fsum(record.seconds for record in records),
        "waiting_for_data": waiting_share(records),
    }
