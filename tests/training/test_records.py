"""The best epoch, early stopping, and what a longer training resumes from."""

import pytest

from microseg.training.records import EpochRecord, Validation, best_record, records_to_resume, should_stop


def record(epoch: int, iou: float | None, loss: float = 0.5, foreground: float = 0.1) -> EpochRecord:
    """Return an epoch; without an IoU it was not validated."""
    measured = None if iou is None else Validation(loss, iou, foreground)
    return EpochRecord(epoch, 1 / epoch, 0.001, 10.0, 0.5, measured, 0.0 if measured is None else 2.0)


def records(*ious: float | None, losses: tuple[float, ...] = ()) -> tuple[EpochRecord, ...]:
    return tuple(
        record(epoch, iou, losses[epoch - 1] if losses else 0.5) for epoch, iou in enumerate(ious, start=1)
    )


def silent(*losses: float) -> tuple[EpochRecord, ...]:
    """Return epochs in which the network predicts no foreground at all."""
    return tuple(record(epoch, 0.0, loss, foreground=0.0) for epoch, loss in enumerate(losses, start=1))


def test_the_epoch_of_the_highest_iou_is_the_best():
    assert best_record(records(0.1, 0.3, 0.2)).epoch == 2


def test_of_equally_good_epochs_the_one_of_the_lowest_loss_is_the_best():
    assert best_record(records(0.1, 0.3, 0.3, 0.2, losses=(0.1, 0.6, 0.4, 0.2))).epoch == 3


def test_while_the_network_is_silent_the_lowest_loss_decides():
    assert best_record(silent(0.7, 0.4, 0.5)).epoch == 2


def test_of_epochs_alike_in_both_the_first_is_the_best():
    assert best_record(records(0.1, 0.3, 0.3)).epoch == 2


def test_only_a_validated_epoch_can_be_the_best():
    assert best_record(records(None, 0.2, None, 0.1, None)).epoch == 2
    with pytest.raises(ValueError, match="empty"):
        best_record(records(None))


@pytest.mark.parametrize(
    ("ious", "patience", "over"),
    [
        ((), None, False),
        ((0.1, 0.2), None, False),
        ((0.1, 0.2, 0.3, 0.4), None, True),
        ((None, None, None, None), None, True),
        ((0.3, 0.2), 2, False),
        ((0.3, 0.2, 0.2), 2, True),
        ((0.3, 0.3, 0.3), 2, True),
        ((0.1, 0.2, 0.3), 2, False),
        ((), 1, False),
        ((0.3, None, None), 2, False),
        ((0.3, None, 0.2), 2, True),
        ((None, 0.3, None), 1, False),
    ],
)
def test_a_training_is_over_after_its_epochs_or_at_a_validated_one_without_a_better_one(ious, patience, over):
    assert should_stop(records(*ious), epochs=4, patience=patience) == over


def test_early_stopping_waits_until_the_network_has_predicted_foreground():
    history = silent(0.3, 0.4, 0.5, 0.6, 0.7)
    assert not should_stop(history, epochs=99, patience=2)
    history = (*history, record(6, 0.0, foreground=0.01), record(7, 0.0, foreground=0.01))
    assert not should_stop(history, epochs=99, patience=2)
    assert should_stop((*history, record(8, 0.0, foreground=0.0)), epochs=99, patience=2)


def test_a_longer_training_forgets_the_validation_that_was_only_made_because_of_the_end():
    assert records_to_resume(records(None, 0.2, 0.3), validate_every=2) == records(None, 0.2, None)
    assert records_to_resume(records(None, 0.2), validate_every=2) == records(None, 0.2)
    assert records_to_resume((), validate_every=2) == ()
