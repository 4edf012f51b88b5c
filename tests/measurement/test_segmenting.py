import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from microseg.measurement.segmenting import segment
from microseg.measurement.settings import Settings
from microseg.network import appearance
from microseg.prediction.postprocessing import morphological_mask


def logits():
    noise = np.random.default_rng(6).normal(0, 1, (200, 120))
    return (60 * gaussian_filter(noise, 2)).astype(np.float16)


def test_a_mosaic_is_segmented_a_band_at_a_time_with_the_same_result(monkeypatch):
    expected = morphological_mask(logits(), "otsu", 3, 3)
    monkeypatch.setattr("microseg.measurement.segmenting.ROWS_AT_A_TIME", 32)
    found = segment(logits(), Settings(method="morphology"), 0)
    assert np.array_equal(found.mask, expected)
    assert 0.1 < expected.mean() < 0.9
    assert found.sensitivity["morphology"] == expected.mean()
    assert found.probability == pytest.approx(1 / (1 + np.exp(-logits().astype(np.float32))), abs=1e-6)
    shown = appearance.entropy(found.probability)
    monkeypatch.setattr(appearance, "ROWS_AT_A_TIME", 32)
    assert appearance.entropy(found.probability) == shown
