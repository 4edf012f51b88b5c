"""Logits of micrographs of any size, in tiles, with TTA, and written into a folder."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from microseg.common.errors import InputError
from microseg.common.params import PredictParams
from microseg.network.devices import start
from microseg.network.inputs import MaskedMicrographs, downsample, network_input
from microseg.network.model_io import describe
from microseg.network.networks import EncoderNetwork
from microseg.network.sliding_window import WHOLE, Tiling
from microseg.network.unet import UNet
from microseg.prediction.inference import (
    PREDICTIONS,
    predict,
    predict_d4,
    predict_hflip,
    prefetch,
    write_logits_folder,
)
from microseg.prediction.logits import read_logits, read_settings

from drawn_micrographs import USED
from tiny_training import SMALL_ENCODER, blobs, tiny_params, write_blobs


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(2).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 70), (20, 130)])
@pytest.mark.parametrize("tile", [None, 32])
def test_logits_have_the_size_of_the_micrograph(network, height, width, tile):
    logits = predict(network, torch.rand(1, 1, height, width), Tiling(tile, 0.25))
    assert logits.shape == (1, 1, height, width)
    assert logits.dtype == torch.float32


def test_tiles_of_a_local_network_blend_to_the_whole():
    # A network that looks at single pixels does not see where a tile ends.
    local = nn.Conv2d(1, 1, kernel_size=1)
    image = torch.rand(1, 1, 70, 90)
    assert torch.allclose(predict(local, image, Tiling(32, 0.5)), local(image), atol=1e-5)


def test_the_middle_of_a_tile_counts_more_than_its_border():
    # Each tile predicts its own number; between two centres the blend goes from one number to the other.
    class Counting(nn.Module):
        calls = 0

        def forward(self, tile):
            self.calls += 1
            return torch.full_like(tile, float(self.calls))

    row = predict(Counting(), torch.zeros(1, 1, 32, 48), Tiling(32, 0.5))[0, 0, 16]
    assert row[0].item() == 1.0
    assert row[-1].item() == 2.0
    assert row[17:31].tolist() == sorted(row[17:31].tolist())
    assert row[18].item() < 1.5 < row[29].item()


class CornerDetector(nn.Module):
    """Returns the upper left grey value of its input for every pixel."""

    def forward(self, micrographs):
        return micrographs[..., :1, :1].expand_as(micrographs)


def test_each_corner_is_the_upper_left_one_in_two_of_the_eight_symmetries():
    micrograph = torch.tensor([[[[1.0, 0.0, 10.0], [0.0, 0.0, 0.0], [100.0, 0.0, 1000.0]]]])
    logits = predict_d4(CornerDetector(), micrograph, WHOLE)
    assert torch.equal(logits, torch.full_like(micrograph, 2 * 1111 / 8))


def test_averaged_logits_rotate_with_the_micrograph(network):
    micrograph = torch.rand(1, 1, 50, 70)
    logits, plain = (function(network, micrograph, Tiling(32, 0.25)) for function in (predict_d4, predict))
    assert not torch.allclose(logits, plain, atol=1e-4)
    for change in (lambda image: image.flip(-1), lambda image: image.rot90(1, (-2, -1)), lambda image: image.mT):
        assert torch.allclose(predict_d4(network, change(micrograph), Tiling(32, 0.25)), change(logits), atol=1e-5)


def test_with_hflip_logits_depend_on_up_and_down_but_not_on_left_and_right(network):
    micrograph = torch.rand(1, 1, 48, 64)
    logits = predict_hflip(network, micrograph, WHOLE)
    assert torch.allclose(predict_hflip(network, micrograph.flip(-1), WHOLE).flip(-1), logits, atol=1e-5)
    assert not torch.allclose(predict_hflip(network, micrograph.flip(-2), WHOLE).flip(-2), logits, atol=1e-3)


NO_MICROGRAPHS = MaskedMicrographs(Path(), Path(), ())


def write(network, data, names, folder, input_normalization="zscore", tta="none", temperature=1.0, downsample=1.0):
    params = PredictParams(subset="measured", temperature_scaling=True, tile_size=None, tile_overlap=0.25, tta=tta)
    fabric = start("cpu", "float32")
    card = replace(
        describe(1, 0.5, NO_MICROGRAPHS, NO_MICROGRAPHS, tiny_params(), 0, USED),
        input_normalization=input_normalization,
        temperature=temperature,
        best_logit=-0.6,
        downsample=downsample,
    )
    write_logits_folder(fabric, network, card, data / "images", names, folder, params)


def test_the_folder_holds_float16_logits_of_the_named_micrographs(network, tmp_path):
    names = write_blobs(tmp_path, count=3, height=50, width=70)
    write(network, tmp_path, names[1:], tmp_path / "logits")
    assert sorted(path.name for path in (tmp_path / "logits").iterdir()) == [
        *("IMG_00002.npy", "IMG_00003.npy", "settings.json"),
    ]
    micrograph, _ = blobs(tmp_path, names).read(1)
    with torch.no_grad():
        expected = network(network_input(micrograph, "zscore")[None])[0, 0].numpy()
    logits = read_logits(tmp_path / "logits", names[1])
    assert logits.shape == (50, 70)
    assert np.array_equal(logits, expected.astype(np.float16))


def test_a_network_that_trains_in_batches_of_several_predicts_one_micrograph_at_a_time(tmp_path):
    names = write_blobs(tmp_path, count=1, height=50, width=70)
    write(EncoderNetwork("deeplabv3plus", SMALL_ENCODER).eval(), tmp_path, names, tmp_path / "logits")
    assert read_logits(tmp_path / "logits", names[0]).shape == (50, 70)


def test_logits_are_divided_by_the_temperature(network, tmp_path):
    names = write_blobs(tmp_path, count=1)
    write(network, tmp_path, names, tmp_path / "plain")
    write(network, tmp_path, names, tmp_path / "calibrated", temperature=4.0)
    plain, calibrated = (read_logits(tmp_path / folder, names[0]) for folder in ("plain", "calibrated"))
    assert np.allclose(plain / 4, calibrated, atol=1e-3)
    assert np.abs(plain).max() > 0.01
    # The best threshold is divided with them, so that the masks above it are the same.
    made_with = [read_settings(tmp_path / folder) for folder in ("plain", "calibrated")]
    assert [(one["temperature"], one["best_logit"]) for one in made_with] == [(1.0, -0.6), (4.0, -0.15)]
    assert made_with[1]["predict"]["tta"] == "none"


def test_the_normalization_is_that_of_the_training(network, tmp_path):
    names = write_blobs(tmp_path, count=1)
    for input_normalization in ("zscore", "none"):
        write(network, tmp_path, names, tmp_path / input_normalization, input_normalization)
    first, second = (read_logits(tmp_path / folder, names[0]) for folder in ("zscore", "none"))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("tta", ["none", "hflip", "d4"])
def test_logits_of_downsampled_micrographs_have_the_micrographs_own_size(network, tmp_path, tta):
    names = write_blobs(tmp_path, count=2, height=65, width=83)
    write(network, tmp_path, names, tmp_path / "logits", tta=tta, downsample=2.0, temperature=1.5)
    micrograph, _ = blobs(tmp_path, names).read(1)
    small = network_input(downsample(micrograph, 2.0), "zscore")[None]
    logits = PREDICTIONS[tta](network, small, WHOLE)[0, 0].numpy()
    assert logits.shape == (32, 42)
    expected = np.asarray(Image.fromarray(logits).resize((83, 65), Image.Resampling.BILINEAR)) / 1.5
    assert read_logits(tmp_path / "logits", names[1]) == pytest.approx(expected, abs=2e-3)
    assert expected.std() > 0.01


def test_tta_averages_the_logits(network, tmp_path):
    names = write_blobs(tmp_path, count=1)
    write(network, tmp_path, names, tmp_path / "logits", tta="d4")
    micrograph, _ = blobs(tmp_path, names).read(0)
    expected = predict_d4(network, network_input(micrograph, "zscore")[None], WHOLE)
    assert np.array_equal(read_logits(tmp_path / "logits", names[0]), expected[0, 0].numpy().astype(np.float16))


def test_a_missing_micrograph_leaves_no_half_folder(network, tmp_path):
    names = write_blobs(tmp_path, count=1)
    with pytest.raises(InputError, match=r"IMG_00009\.png: no such image"):
        write(network, tmp_path, [*names, "IMG_00009.png"], tmp_path / "logits")
    assert not (tmp_path / "logits").exists()


def test_a_prediction_that_runs_out_of_memory_names_tiles_and_tta(network, tmp_path, monkeypatch):
    names = write_blobs(tmp_path, count=2, height=160, width=320)

    def starved(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(UNet, "forward", starved)
    message = r"not enough memory for the prediction(.|\n)*predict\.tile_size smaller(.|\n)*predict\.tta none"
    with pytest.raises(InputError, match=message):
        write(network, tmp_path, names, tmp_path / "logits", tta="d4")
    assert not (tmp_path / "logits").exists()


def test_the_next_micrograph_is_read_while_one_is_in_use():
    read, second = [], threading.Event()

    def reading(name):
        read.append(name)
        if name == "b":
            second.set()
        return name.upper()

    results = prefetch(reading, ["a", "b", "c", "d"])
    assert next(results) == "A"
    assert second.wait(timeout=30)
    assert "d" not in read
    assert list(results) == ["B", "C", "D"]
    assert read == ["a", "b", "c", "d"]
    assert list(prefetch(reading, [])) == []
