"""What is exported with a trained model: its calibration, and the statistics of its micrographs."""

import numpy as np
import pytest
import torch

from microseg.common.errors import InputError
from microseg.evaluation.calibration import LOGITS
from microseg.micrographs.images import pixel_digest, read_mask, read_micrograph
from microseg.network.devices import start
from microseg.network.image_statistics import (
    ENTROPY,
    QUANTITIES,
    entropy,
    image_statistics,
    read_image_statistics,
)
from microseg.network.inputs import MaskedMicrographs, network_input, upsample
from microseg.network.sliding_window import WHOLE, Tiling
from microseg.network.unet import UNet
from microseg.training.export import calibrate, write_image_statistics

from tiny_training import blobs, tiny_params, tiny_train, write_blobs


@pytest.fixture
def trained(tmp_path):
    write_blobs(tmp_path)
    return tiny_train(tmp_path, tmp_path / "checkpoints", lr=0.02).weights


def fit(folder, weights, names, tiling=WHOLE):
    return calibrate(start("cpu", "float32"), weights, blobs(folder, names), tiny_params(), tiling)


NAMES = ("IMG_00007.png", "IMG_00008.png")


def test_temperature_and_threshold_are_the_best_ones_on_the_validation_micrographs(trained, tmp_path):
    temperature, threshold, _ = fit(tmp_path, trained, NAMES)
    network = UNet(2)
    network.load_state_dict(trained)
    network.eval()
    logits, masks = [], []
    for index, name in enumerate(NAMES):
        micrograph, _ = blobs(tmp_path, NAMES).read(index)
        with torch.no_grad():
            logits.append(network(network_input(micrograph, "zscore")[None])[0, 0].double().numpy())
        masks.append(read_mask(tmp_path / "masks" / name))

    def loss(divisor):
        return torch.nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(np.stack(logits) / divisor), torch.from_numpy(np.stack(masks)).double()
        ).item()

    def mean_iou(cut):
        pairs = [(values > cut, mask) for values, mask in zip(logits, masks, strict=True)]
        return np.mean([(seen & mask).sum() / (seen | mask).sum() for seen, mask in pairs])

    assert loss(temperature) <= min(loss(temperature * 1.05), loss(temperature / 1.05))
    assert mean_iou(threshold) >= max(mean_iou(cut) for cut in LOGITS[::25]) - 0.01


def test_calibration_uses_no_other_micrographs(trained, tmp_path):
    before = fit(tmp_path, trained, NAMES)
    (tmp_path / "masks" / "IMG_00001.png").unlink()
    assert fit(tmp_path, trained, NAMES) == before


def test_one_pass_of_tiles_measures_all(trained, tmp_path, monkeypatch):
    # Whole, the micrographs might not fit in memory: then no model would ever be written.
    sizes, read, forward = [], [], UNet.forward
    monkeypatch.setattr(
        UNet, "forward", lambda self, inputs: sizes.append(tuple(inputs.shape)) or forward(self, inputs)
    )
    original = MaskedMicrographs.read
    monkeypatch.setattr(MaskedMicrographs, "read", lambda self, index: read.append(index) or original(self, index))
    fit(tmp_path, trained, NAMES, Tiling(32, 0.25))
    assert set(sizes) == {(1, 1, 32, 32)}
    assert read == [0, 1]


def test_a_calibration_that_runs_out_of_memory_names_tiles(trained, tmp_path, monkeypatch):
    def starved(_network, _inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(UNet, "forward", starved)
    with pytest.raises(InputError, match=r"not enough memory for the calibration(.|\n)*predict\.tile_size"):
        fit(tmp_path, trained, NAMES)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_entropy_is_that_of_calibrated_predictions_at_the_own_size(tmp_path, factor):
    files = blobs(tmp_path, write_blobs(tmp_path, count=2, height=65, width=83))
    torch.manual_seed(0)
    network = UNet(2).eval()
    params = tiny_params(downsample=factor)
    found = calibrate(start("cpu", "float32"), network.state_dict(), files, params, WHOLE)
    expected = []
    for index in range(2):
        inputs = network_input(files.read(index)[0], "zscore", factor=factor)[None]
        logits = upsample(network(inputs), (65, 83)).detach()
        expected.append(entropy(torch.sigmoid(logits / found.temperature)[0, 0].numpy()))
    assert found.entropy == pytest.approx((min(expected), max(expected)), abs=2e-3)


def test_statistics_of_the_training_micrographs_are_written_beside_the_model(tmp_path):
    names = write_blobs(tmp_path, count=3)
    write_image_statistics(tmp_path, blobs(tmp_path, names), (0.25, 0.5))
    statistics = read_image_statistics(tmp_path)
    micrographs = [read_micrograph(tmp_path / "images" / name) for name in names]
    assert set(statistics.ranges) == set(QUANTITIES)
    noise = [image_statistics(micrograph)["noise"] for micrograph in micrographs]
    assert statistics.ranges["noise"] == (min(noise), max(noise))
    assert statistics.ranges[ENTROPY] == (0.25, 0.5)
    assert statistics.digests == tuple(map(pixel_digest, micrographs))
