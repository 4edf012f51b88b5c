"""What happened in each epoch of a training, and what follows from it: which one is best, and when it is over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


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


def is_over(records: Sequence[EpochRecord], epochs: int, early_stopping: int | None) -> bool:
    """Return whether a training of at most `epochs` ends after these epochs.

    It ends early where `early_stopping` epochs have passed without a better one at the end of a validated epoch.
    These count only once the network has predicted foreground: before, none can be better than another.
    """
    if len(records) >= epochs:
        return True
    speaking = [record.epoch for record, measured in _validated(records) if measured.predicted_foreground > 0]
    if early_stopping is None or not speaking:
        return False
    latest = _validated(records)[-1][0].epoch
    return latest - max(best_record(records).epoch, speaking[0]) >= early_stopping


def going_on(records: tuple[EpochRecord, ...], validate_every: int) -> tuple[EpochRecord, ...]:
    """Return the records as a longer training has them, which does not validate where a shorter one ended."""
    if records and not is_regular(records[-1].epoch, validate_every):
        return (*records[:-1], replace(records[-1], validation=None, validation_seconds=0.0))
    return records


def _validated(records: Sequence[EpochRecord]) -> list[tuple[EpochRecord, Validation]]:
    return [(record, record.validation) for record in records if record.validation is not None]
