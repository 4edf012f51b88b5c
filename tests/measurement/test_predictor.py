"""The network sees micrographs whole, and mosaics a band of rows at a time, with the same result."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from microseg.measurement import predictor
from microseg.measurement.predictor import BAND_MARGIN, Predictor
from microseg.measurement.settings import Settings
from microseg.network.devices import start
from microseg.network.inputs import network_input
from microseg.network.model_card import read_model

from drawn_micrographs import write_tiny_model


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
    expected = network(network_input(grey, card.grey_values)[None])[0, 0].detach().numpy()
    assert np.array_equal(Predictor(model, Settings()).logits(grey), expected.astype(np.float16))


def test_logits_are_divided_by_the_temperature_of_the_model(model, monkeypatch):
    monkeypatch.setattr(predictor, "start", lambda *_: start("cpu", "float32"))
    grey = micrograph(70, 90)
    plain = Predictor(model, Settings()).logits(grey)
    path = model / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": 4.0}))
    assert np.allclose(Predictor(model, Settings()).logits(grey), plain / 4, atol=1e-3)
    assert np.abs(plain).max() > 0.01


def test_bands_of_a_mosaic_join_to_the_whole(model, monkeypatch):
    seen = []

    def local(_network, inputs, tile, _overlap):
        seen.append((*inputs.shape[-2:], tile))
        return 3 * inputs

    monkeypatch.setattr(predictor, "predict", local)
    grey = micrograph(1300, 160)
    whole = Predictor(model, Settings()).logits(grey)
    monkeypatch.setattr(predictor, "LARGEST_WHOLE", 1000)
    monkeypatch.setattr(predictor, "BAND_ROWS", 512)
    # All bands are normalised alike, by the grey values of the whole.
    assert np.array_equal(Predictor(model, Settings()).logits(grey), whole)
    assert seen == [(1300, 160, None), (768, 160, 1024), (1024, 160, 1024), (532, 160, 1024)]


def test_a_margin_is_wider_than_what_the_network_sees_around_a_pixel(model, monkeypatch):
    monkeypatch.setattr(predictor, "start", lambda *_: start("cpu", "float32"))
    network = Predictor(model, Settings())
    grey = micrograph(800, 32)
    changed = grey.copy()
    # The row farthest from row 400 that a band without the margin would lack; mean and deviation stay.
    changed[400 + BAND_MARGIN :] = changed[400 + BAND_MARGIN :][::-1]
    first, second = network.logits(grey), network.logits(changed)
    assert np.array_equal(first[:400], second[:400])
    assert not np.array_equal(first[500:], second[500:])
