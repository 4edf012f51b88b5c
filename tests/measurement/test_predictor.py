"""The network sees micrographs whole, and mosaics a band of rows at a time, with the same result."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from microseg.measurement import predictor
from microseg.measurement.predictor import Predictor
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
    expected = network(network_input(grey, card.normalization)[None])[0, 0].detach().numpy()
    assert np.array_equal(Predictor(model, Settings()).logits(grey), expected.astype(np.float16))


def test_bands_of_a_mosaic_join_without_a_seam(model, monkeypatch):
    monkeypatch.setattr(predictor, "start", lambda *_: start("cpu", "float32"))
    grey = micrograph(1300, 160)
    whole = Predictor(model, Settings(tile=64)).logits(grey).astype(np.float32)
    monkeypatch.setattr(predictor, "LARGEST_WHOLE", 1000)
    monkeypatch.setattr(predictor, "BAND_ROWS", 512)
    bands = Predictor(model, Settings(tile=64)).logits(grey).astype(np.float32)
    assert bands.shape == grey.shape
    # Tiles lie elsewhere in a band than in the whole, which changes what is near their borders.
    assert np.abs(bands - whole).max() < 0.1 * np.ptp(whole)
    seam = np.abs(np.diff(bands, axis=0))
    assert seam[511].max() < 2 * np.sort(seam.max(axis=1))[-5]
    assert np.array_equal(bands[:400], whole[:400])
