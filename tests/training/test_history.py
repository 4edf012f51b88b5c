import pytest

from microseg.training.history import EpochRecord, best_record, is_over, training_metrics, write_log


def records(*ious: float) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(epoch, 1 / epoch, 2 / epoch, iou, 0.001, 10.0, 0.5, 0.1)
        for epoch, iou in enumerate(ious, start=1)
    )


def test_of_equally_good_epochs_the_first_is_the_best():
    assert best_record(records(0.1, 0.3, 0.3, 0.2)).epoch == 2


@pytest.mark.parametrize(
    ("ious", "patience", "over"),
    [
        ((), None, False),
        ((0.1, 0.2), None, False),
        ((0.1, 0.2, 0.3, 0.4), None, True),
        ((0.3, 0.2), 2, False),
        ((0.3, 0.2, 0.2), 2, True),
        ((0.3, 0.3, 0.3), 2, True),
        ((0.1, 0.2, 0.3), 2, False),
        ((), 1, False),
    ],
)
def test_a_training_is_over_after_its_epochs_or_without_a_better_one(ious, patience, over):
    assert is_over(records(*ious), epochs=4, early_stopping=patience) == over


def test_the_log_has_one_line_an_epoch(tmp_path):
    write_log(tmp_path / "train.csv", records(0.25, 0.5))
    assert (tmp_path / "train.csv").read_text() == (
        "epoch,train_loss,validation_loss,validation_iou,lr,seconds\n"
        "1,1.0,2.0,0.25,0.001,10.0\n"
        "2,0.5,1.0,0.5,0.001,10.0\n"
    )


def test_the_figures_are_those_of_the_epoch_that_became_the_model():
    history = records(0.1, 0.4, 0.2, 0.3)
    assert training_metrics(history, best_record(history)) == {
        "epochs": 4,
        "model_epoch": 2,
        "validation_iou": 0.4,
        "validation_loss": 1.0,
        "train_loss": 0.5,
        "predicted_foreground": 0.1,
        "seconds": 40.0,
        "waiting_for_data": 0.05,
    }
