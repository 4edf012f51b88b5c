"""The temperature and the best logit of a trained network, fitted on its validation micrographs alone."""

import numpy as np
import pytest
import torch

from microseg.evaluation.calibration import LOGITS
from microseg.micrographs.images import read_mask
from microseg.network.devices import start
from microseg.network.inputs import network_input
from microseg.network.sliding_window import WHOLE
from microseg.network.unet import UNet
from microseg.training.export import calibrate

from tiny_training import blobs, tiny_params, tiny_train, write_blobs


@pytest.fixture
def trained(tmp_path):
    write_blobs(tmp_path)
    return tiny_train(tmp_path, tmp_path / "checkpoints", lr=0.02).weights


def fit(folder, weights, names):
    return calibrate(start("cpu", "float32"), weights, blobs(folder, names), tiny_params(), WHOLE)


NAMES = ("IMG_00007.png", "IMG_00008.png")


def test_both_make_the_validation_micrographs_most_likely_and_best(trained, tmp_path):
    temperature, best = fit(tmp_path, trained, NAMES)
    network = UNet(2)
    network.load_state_dict(trained)
    network.eval()
    logits, masks = [], []
    for index, name in enumerate(NAMES):
        micrograph, _ = blobs(tmp_path, NAMES).read(index)
        with torch.no_grad():
            logits.append(network(network_input(micrograph, "zscore")[None])[0, 0].double().numpy())
        masks.append(read_mask(tmp_path / "masks" / name))

    def loss(one):
        return torch.nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(np.stack(logits) / one), torch.from_numpy(np.stack(masks)).double()
        ).item()

    def mean_iou(cut):
        pairs = [(values > cut, mask) for values, mask in zip(logits, masks, strict=True)]
        return np.mean([(seen & mask).sum() / (seen | mask).sum() for seen, mask in pairs])

    assert loss(temperature) <= min(loss(temperature * 1.05), loss(temperature / 1.05))
    assert mean_iou(best) >= max(mean_iou(cut) for cut in LOGITS[::25]) - 0.01


def test_other_micrographs_do_not_count(trained, tmp_path):
    before = fit(tmp_path, trained, NAMES)
    (tmp_path / "masks" / "IMG_00001.png").unlink()
    assert fit(tmp_path, trained, NAMES) == before
