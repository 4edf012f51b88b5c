"""Micrographs are predicted whole, mosaics in tiles, a row of tiles at a time, with the same logits."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from microseg.common.params import PredictParams
from microseg.measurement import predictor
from microseg.measurement.predictor import Predictor
from microseg.measurement.settings import Settings
from microseg.micrographs.images import read_micrograph
from microseg.network.devices import start
from microseg.network.inputs import network_input
from microseg.network.model_io import read_model
from microseg.network.sliding_window import Tiling
from microseg.prediction.inference import predict, predict_d4, write_logits_folder
from microseg.prediction.logits import read_logits

from drawn_micrographs import write_tiny_model
from tiny_training import write_blobs


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "model")


def micrograph(height, width):
    noise = np.random.default_rng(1).normal(120, 60, (height, width))
    return gaussian_filter(noise, 2, mode="wrap").clip(0, 255).astype(np.uint8)


def test_a_micrograph_is_predicted_as_the_pipeline_does(model, monkeypatch):
    monkeypatch.setattr(predictor, "start", lambda *_: start("cpu", "float32"))
    grey = micrograph(70, 90)
    network, card = read_model(model)
    expected = network(network_input(grey, card.input_normalization)[None])[0, 0].detach().numpy()
    assert np.array_equal(Predictor(model, Settings()).logits(grey), expected.astype(np.float16))


def test_logits_are_divided_by_the_temperature_of_the_model(model, monkeypatch):
    monkeypatch.setattr(predictor, "start", lambda *_: start("cpu", "float32"))
    grey = micrograph(70, 90)
    plain = Predictor(model, Settings()).logits(grey)
    path = model / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": 4.0}))
    assert np.allclose(Predictor(model, Settings()).logits(grey), plain / 4, atol=1e-3)
    assert np.abs(plain).max() > 0.01


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_downsampling_network_gets_downsampled_micrographs_and_its_logits_are_upsampled(
    tmp_path, monkeypatch, factor
):
    monkeypatch.setattr(predictor, "start", lambda *_: start("cpu", "float32"))
    model = write_tiny_model(tmp_path / "model", downsample=2.0)
    names = write_blobs(tmp_path / "data", count=1, height=65, width=83)
    grey = read_micrograph(tmp_path / "data/images" / names[0])
    network, card = read_model(model)
    params = PredictParams(
        subset="measured", temperature_scaling=True, tile_size=None, tile_overlap=0.25, tta="none"
    )
    fabric = start("cpu", "float32")
    write_logits_folder(fabric, network, card, tmp_path / "data/images", names, tmp_path / "logits", params)
    logits = Predictor(model, Settings()).logits(grey, factor)
    assert logits.shape == (65, 83)
    # A micrograph of twice the pixel size is enlarged first, so the network sees it at another size.
    assert np.array_equal(logits, read_logits(tmp_path / "logits", names[0])) == (factor == 1)


def test_tiles_of_a_mosaic_join_to_the_whole(model, monkeypatch):
    seen = []

    def local(_network, inputs, _tiling):
        seen.append(tuple(inputs.shape[-2:]))
        return 3 * inputs

    monkeypatch.setattr(predictor, "predict", local)
    grey = micrograph(1300, 160)
    whole = Predictor(model, Settings()).logits(grey)
    monkeypatch.setattr(predictor, "LARGEST_WHOLE", 1000)
    # All tiles are normalized with the grey values of the whole image, and blended in float32.
    tiled = Predictor(model, Settings(tile_size=128)).logits(grey)
    assert np.abs(tiled.astype(float) - whole).max() < 0.01
    assert seen == [(1300, 160), *[(128, 128)] * 28]  # rows 0, 96, ..., 1152, 1172; columns 0, 32


# With augmentation the tiles turn in place, so that only a grid that looks the same from all sides is comparable.
@pytest.mark.parametrize(("size", "tta"), [((300, 90), False), ((90, 300), False), ((320, 224), True)])
def test_a_mosaic_has_the_logits_of_one_grid_of_tiles_without_a_step(model, monkeypatch, size, tta):
    """Pooling over a whole tile makes logits step where another grid of tiles begins."""

    class Pooling(torch.nn.Module):
        def forward(self, inputs):
            return inputs + inputs.mean(dim=(-2, -1), keepdim=True)

    monkeypatch.setattr(predictor, "start", lambda *_: start("cpu", "float32"))
    monkeypatch.setattr(predictor, "LARGEST_WHOLE", 1000)
    monkeypatch.setattr(predictor, "MOSAIC_TILE_SIZE", 128)
    network = Predictor(model, Settings(tta=tta))
    network._network = Pooling()
    grey = (np.linspace(0, 255, size[0])[:, None] * np.ones(size[1])).astype(np.uint8)
    inputs = network_input(grey, network.card.input_normalization)[None]
    expected = (predict_d4 if tta else predict)(Pooling(), inputs, Tiling(128, 0.25))[0, 0]
    assert np.allclose(network.logits(grey), expected, atol=2e-3)


def test_tiles_of_a_downsampled_mosaic_join_to_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "predict", lambda _network, inputs, _tiling: 3 * inputs)
    model = write_tiny_model(tmp_path / "model", downsample=2.0)
    grey = micrograph(1301, 161)
    whole = Predictor(model, Settings()).logits(grey)
    monkeypatch.setattr(predictor, "LARGEST_WHOLE", 1000)
    # Tiles are rounded to float16 before they are upsampled.
    tiles = Predictor(model, Settings(tile_size=128)).logits(grey)
    assert np.abs(tiles.astype(float) - whole).max() < 0.01
    assert tiles.shape == grey.shape


def test_memory_is_released_regularly_during_a_long_run(model, monkeypatch):
    released = []
    monkeypatch.setattr(predictor, "RELEASE_MEMORY_EVERY", 2)
    monkeypatch.setattr(predictor, "trim_memory", lambda: released.append(True))
    network = Predictor(model, Settings())
    for _ in range(5):
        network.logits(micrograph(32, 32))
    assert len(released) == 2


@pytest.mark.parametrize(
    ("cores", "largest", "at_once", "cores_each"),
    [(8, 1024 * 768, 8, 1), (8, 2048 * 1536, 2, 4), (5, 2048 * 1536, 2, 2), (2, 20_000**2, 1, 2), (1, 1000, 1, 1)],
)
def test_cores_are_shared_among_as_many_micrographs_as_fit_the_memory_of_a_large_one(
    model, cores, largest, at_once, cores_each
):
    before = torch.get_num_threads()
    network = Predictor(model, Settings())
    torch.set_num_threads(cores)
    try:
        with network.share_cores(largest) as shared, ThreadPoolExecutor(1) as threads:
            assert threads.submit(torch.get_num_threads).result() == cores_each
        assert shared == at_once
        assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
