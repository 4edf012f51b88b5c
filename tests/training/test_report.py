import pytest

from microseg.network.model_card import Environment
from microseg.training.records import EpochRecord, Validation, training_metrics, write_tables

RECORDS = (
    EpochRecord(1, 1.0, 0.001, seconds=10.0, waiting_seconds=1.1),
    EpochRecord(2, 0.5, 0.001, 10.0, 0.0, Validation(loss=0.25, iou=0.75, predicted_foreground=0.1), 2.0),
)


def test_one_line_an_epoch_and_one_for_each_that_was_validated(tmp_path):
    write_tables(tmp_path / "train.csv", tmp_path / "validation.csv", RECORDS)
    assert (tmp_path / "train.csv").read_text() == (
        "epoch,train_loss,lr,seconds\n1,1.0,0.001,10.0\n2,0.5,0.001,10.0\n"
    )
    assert (tmp_path / "validation.csv").read_text() == (
        "epoch,validation_loss,validation_iou,predicted_foreground\n2,0.25,0.75,0.1\n"
    )


def test_no_digit_is_lost(tmp_path):
    numbers = (0.1 + 0.2, 1 / 3, 2e-17)
    record = EpochRecord(1, numbers[0], 0.001, 1.0, 0.0, Validation(numbers[1], numbers[2], 0.0), 1.0)
    write_tables(tmp_path / "train.csv", tmp_path / "validation.csv", [record])
    assert float((tmp_path / "train.csv").read_text().splitlines()[1].split(",")[1]) == numbers[0]
    assert (tmp_path / "validation.csv").read_text().splitlines()[1] == f"1,{numbers[1]!r},{numbers[2]!r},0.0"


def test_the_figures_are_those_of_the_epoch_that_became_the_model():
    measured = RECORDS[1].validation
    assert measured is not None
    used = Environment("cpu", "1 x any", "bf16", "torch 1")
    assert training_metrics(RECORDS, RECORDS[1], measured, used) == {
        "epochs": 2,
        "model_epoch": 2,
        "validation_iou": 0.75,
        "validation_loss": 0.25,
        "train_loss": 0.5,
        "predicted_foreground": 0.1,
        "seconds": 22.0,
        "waiting_for_data": pytest.approx(0.05),
        "validating": pytest.approx(1 / 11),
        "environment": {
            "accelerator": "cpu", "device": "1 x any", "precision": "bf16", "libraries": "torch 1",
        },
    }  # fmt: skip
