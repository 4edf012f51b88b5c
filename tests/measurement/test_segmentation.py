import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from microseg.measurement.segmentation import segment
from microseg.measurement.settings import Settings
from microseg.network.image_statistics import entropy
from microseg.prediction.logits import probabilities, rescaled
from microseg.prediction.postprocessing import morphological_mask
from microseg.prediction.reliability import mean_entropy


def logits():
    noise = np.random.default_rng(6).normal(0, 1, (200, 120))
    return (60 * gaussian_filter(noise, 2)).astype(np.float16)


def test_a_mosaic_is_segmented_a_chunk_of_rows_at_a_time_with_the_same_result(monkeypatch):
    expected = morphological_mask(logits(), "otsu", 3, 3)
    certainty = probabilities(logits())
    monkeypatch.setattr("microseg.prediction.logits.ROWS_AT_A_TIME", 32)
    found = segment(logits(), Settings(method="morphology", morphology_threshold="otsu"), 0)
    assert np.array_equal(found.mask, expected)
    assert 0.1 < expected.mean() < 0.9
    assert found.sensitivity["morphology"] == expected.mean()
    assert found.sensitivity["0.6"] == (certainty > 0.6).mean()
    assert certainty == pytest.approx(1 / (1 + np.exp(-logits().astype(np.float32))), abs=1e-6)
    assert np.array_equal(rescaled(logits(), np.uint16), np.rint(certainty * 65535))
    assert mean_entropy(logits()) == pytest.approx(entropy(certainty), rel=1e-12)


def test_the_mean_probability_of_an_island_is_that_of_its_pixels():
    found = segment(logits(), Settings(), 0)
    certainty = probabilities(logits())
    expected = [certainty[found.labels == label].mean() for label in found.islands["label"]]
    assert found.islands["mean_probability"].tolist() == expected
