"""What a training writes beside its model: curves while it runs, its first crops, and its metrics at the end."""

import numpy as np
import pytest
import torch
from PIL import Image

from microseg.network.devices import start
from microseg.network.memory import peak_memory_gb
from microseg.network.model_card import Environment
from microseg.training.data import Sample
from microseg.training.outputs import TrainingOutputs, plot_crops, training_metrics, training_report
from microseg.training.records import EpochRecord, Validation
from microseg.training.train import train

from tiny_training import blobs, tiny_params, write_blobs

RECORDS = (
    EpochRecord(1, 1.0, 0.001, seconds=10.0, waiting_seconds=1.1),
    EpochRecord(2, 0.5, 0.001, 10.0, 0.0, Validation(loss=0.25, iou=0.75, predicted_foreground=0.1), 2.0),
)


@pytest.fixture
def outputs(tmp_path):
    return TrainingOutputs(tmp_path / "train.csv", tmp_path / "validation.csv", tmp_path / "training_crops.png")


def test_one_line_an_epoch_and_one_for_each_that_was_validated(outputs):
    outputs.write_curves(RECORDS)
    assert outputs.history.read_text() == "epoch,train_loss,lr,seconds\n1,1.0,0.001,10.0\n2,0.5,0.001,10.0\n"
    assert outputs.validation.read_text() == (
        "epoch,validation_loss,validation_iou,predicted_foreground\n2,0.25,0.75,0.1\n"
    )


def test_no_digit_is_lost(outputs):
    numbers = (0.1 + 0.2, 1 / 3, 2e-17)
    outputs.write_curves(
        [EpochRecord(1, numbers[0], 0.001, 1.0, 0.0, Validation(numbers[1], numbers[2], 0.0), 1.0)]
    )
    assert float(outputs.history.read_text().splitlines()[1].split(",")[1]) == numbers[0]
    assert outputs.validation.read_text().splitlines()[1] == f"1,{numbers[1]!r},{numbers[2]!r},0.0"


def test_curves_are_written_after_every_validation_while_the_training_runs(tmp_path, monkeypatch):
    names = write_blobs(tmp_path)
    params = tiny_params(epochs=5, validate_every=2)
    files = TrainingOutputs(tmp_path / "train.csv", tmp_path / "validation.csv", tmp_path / "crops.png")
    written = []
    write = TrainingOutputs.write_curves

    def watched(self, records):
        write(self, records)
        written.append(len(self.history.read_text().splitlines()) - 1)

    monkeypatch.setattr(TrainingOutputs, "write_curves", watched)
    training, validation = blobs(tmp_path, names[:-2]), blobs(tmp_path, names[-2:])
    train(
        *(start("cpu", "float32"), training, validation, params, 1, tmp_path / "checkpoints", tmp_path / "pixels"),
        outputs=files,
    )
    assert written == [2, 4, 5]
    assert Image.open(files.crops).size[0] > 200


def test_crops_are_shown_in_the_order_of_the_training_with_their_masks_below():
    shades = [torch.full((1, 8, 12), float(number)) for number in range(5)]
    masks = [torch.zeros((1, 8, 12), dtype=torch.bool) for _ in range(5)]
    masks[4][:, :2] = True
    samples = [
        Sample(shade, mask, 1.0, f"{number}.png")
        for number, (shade, mask) in enumerate(zip(shades, masks, strict=True))
    ]
    axes = plot_crops(samples).axes
    titles = [one.get_title() for one in axes]
    assert titles[:4] == ["0.png", "1.png", "2.png", "3.png"]
    assert titles[8] == "4.png"
    assert titles[12] == "mask, 25.0% foreground"
    assert not any(titles[place] for place in (9, 10, 11, 13, 14, 15))
    np.testing.assert_array_equal(axes[8].images[0].get_array(), shades[4][0])
    np.testing.assert_array_equal(axes[12].images[0].get_array(), masks[4][0])


def test_the_metrics_and_the_report_are_of_the_epoch_that_became_the_model():
    measured = RECORDS[1].validation
    assert measured is not None
    used = Environment("cpu", "1 x any", "bf16", "torch 1")
    assert training_metrics(measured) == {"validation_iou": 0.75}
    assert training_report(RECORDS, RECORDS[1], measured, used, torch.device("cpu")) == {
        "epochs": 2,
        "model_epoch": 2,
        "validation_iou": 0.75,
        "validation_loss": 0.25,
        "train_loss": 0.5,
        "predicted_foreground": 0.1,
        "seconds": 22.0,
        "waiting_fraction": pytest.approx(0.05),
        "validation_fraction": pytest.approx(1 / 11),
        "peak_memory_gb": pytest.approx(peak_memory_gb(torch.device("cpu")), rel=0.1),
        "environment": {
            "accelerator": "cpu", "device": "1 x any", "precision": "bf16", "libraries": "torch 1",
        },
    }  # fmt: skip
