"""What is exported with a trained model: its calibration, and the statistics of its micrographs."""

import numpy as np
import pytest
import torch

from microseg.evaluation.calibration import LOGITS
from microseg.micrographs.images import read_mask, read_micrograph
from microseg.network.devices import start
from microseg.network.image_statistics import (
    ENTROPY,
    QUANTITIES,
    entropy,
    image_statistics,
    pixel_digest,
    read_image_statistics,
)
from microseg.network.inputs import network_input, upsample
from microseg.network.model_io import read_model
from microseg.network.sliding_window import WHOLE
from microseg.network.unet import UNet
from microseg.training.export import calibrate, write_image_statistics

from drawn_micrographs import write_tiny_model
from tiny_training import blobs, tiny_params, tiny_train, write_blobs


@pytest.fixture
def trained(tmp_path):
    write_blobs(tmp_path)
    return tiny_train(tmp_path, tmp_path / "checkpoints", lr=0.02).weights


def fit(folder, weights, names):
    return calibrate(start("cpu", "float32"), weights, blobs(folder, names), tiny_params(), WHOLE)


NAMES = ("IMG_00007.png", "IMG_00008.png")


def test_temperature_and_threshold_are_the_best_ones_on_the_validation_micrographs(trained, tmp_path):
    temperature, threshold = fit(tmp_path, trained, NAMES)
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


def test_statistics_of_the_training_micrographs_are_written_beside_the_model(tmp_path):
    names = write_blobs(tmp_path, count=4)
    model = write_tiny_model(tmp_path / "model")
    write_image_statistics(start("cpu", "float32"), model, blobs(tmp_path, names[:3]), blobs(tmp_path, names[3:]))
    statistics = read_image_statistics(model)
    micrographs = [read_micrograph(tmp_path / "images" / name) for name in names]
    assert set(statistics.ranges) == set(QUANTITIES)
    noise = [image_statistics(micrograph)["noise"] for micrograph in micrographs[:3]]
    assert statistics.ranges["noise"] == (min(noise), max(noise))
    low, high = statistics.ranges[ENTROPY]
    assert 0 <= low == high <= 1
    assert statistics.digests == tuple(map(pixel_digest, micrographs[:3]))


def test_the_entropy_is_that_of_predictions_of_downsampled_micrographs(tmp_path):
    names = write_blobs(tmp_path, count=1, height=65, width=83)
    files = blobs(tmp_path, names)
    entropies = []
    for factor in (1.0, 2.0):
        model = write_tiny_model(tmp_path / f"model {factor}", downsample=factor)
        write_image_statistics(start("cpu", "float32"), model, files, files)
        entropies.append(read_image_statistics(model).ranges[ENTROPY][0])
    logits = upsample(read_model(model)[0](network_input(files.read(0)[0], "zscore", factor=2.0)[None]), (65, 83))
    assert entropies[1] == entropy(torch.sigmoid(logits).detach().numpy()) != entropies[0]
