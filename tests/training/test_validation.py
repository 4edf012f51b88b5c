"""Validation measures what a prediction with the same tiles would give, or names tiles if memory runs out."""

import math

import numpy as np
import pytest
import torch

from microseg.common.errors import InputError
from microseg.evaluation.scores import calculate_iou
from microseg.network.devices import start
from microseg.network.inputs import network_input
from microseg.network.losses import LOSSES
from microseg.network.sliding_window import Tiling
from microseg.network.unet import UNet
from microseg.prediction.inference import predict
from microseg.training.data import WholeMicrographs, data_loader
from microseg.training.loop import validate
from microseg.training.train import train

from tiny_training import blobs, tiny_params, write_blobs


@pytest.mark.parametrize("tile", [None, 32])
def test_a_validation_measures_what_would_be_predicted(tile, tmp_path):
    files = blobs(tmp_path, write_blobs(tmp_path, count=3, height=48, width=80))
    torch.manual_seed(3)
    network = UNet(2)
    batches = data_loader(WholeMicrographs(files, "zscore"), [[0], [1], [2]], workers=0, pin_memory=False)
    measured = validate(start("cpu", "float32"), network, batches, LOSSES["bce"], 3, Tiling(tile, 0.25))
    iou, loss = [], []
    for index in range(3):
        micrograph, mask = files.read(index)
        logits = predict(network.eval(), network_input(micrograph, "zscore")[None], Tiling(tile, 0.25))
        values = logits[0, 0].numpy().astype(np.float64)
        iou.append(calculate_iou(mask, values > 0))
        loss.append(np.mean(np.logaddexp(0, np.where(mask, -values, values))))
    assert measured.iou == pytest.approx(math.fsum(iou) / 3, rel=1e-6)
    assert measured.loss == pytest.approx(math.fsum(loss) / 3, rel=1e-5)


def run(folder, tile, **changes):
    names = sorted(path.name for path in (folder / "images").iterdir())
    params = tiny_params(**changes)
    fabric = start("cpu", "float32")
    files = blobs(folder, names[:-1]), blobs(folder, names[-1:])
    return train(fabric, *files, params, 1, folder / "checkpoints", folder / "pixels", Tiling(tile, 0.25))


def test_a_training_validates_in_tiles_with_checkpoints_of_its_own(tmp_path):
    write_blobs(tmp_path, count=3, height=48, width=80)
    whole, tiled = (run(tmp_path, tile, epochs=1) for tile in (None, 32))
    assert len([path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()]) == 2
    assert all(torch.equal(whole.weights[name], tiled.weights[name]) for name in whole.weights)
    assert whole.records[0].validation != tiled.records[0].validation


def test_a_validation_that_runs_out_of_memory_names_tiles(tmp_path, monkeypatch):
    write_blobs(tmp_path, count=3, height=160, width=320)
    forward = UNet.forward

    def starved(self, micrographs):
        if micrographs.shape[-1] > 256:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, micrographs)

    monkeypatch.setattr(UNet, "forward", starved)
    with pytest.raises(InputError, match=r"not enough memory for the validation(.|\n)*predict\.tile_size"):
        run(tmp_path, None, epochs=1)
    assert run(tmp_path, 64, epochs=1).epoch == 1
