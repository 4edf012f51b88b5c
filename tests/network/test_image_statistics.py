"""The statistics of micrographs, worked out by hand or known from how the micrographs are made."""

import json

import numpy as np
import pytest

from microseg.common.errors import InputError
from microseg.micrographs.images import pixel_digest
from microseg.network.image_statistics import entropy, image_statistics, read_image_statistics

from drawn_micrographs import disks, write_tiny_model


def noisy(std, mean=100.0, size=200):
    grey = np.random.default_rng(7).normal(mean, std, (size, size))
    return grey.clip(0, 255).round().astype(np.uint8)


def test_grey_quantiles():
    micrograph = np.repeat(np.arange(100, dtype=np.uint8), 10).reshape(50, 20)
    statistics = image_statistics(micrograph)
    assert [statistics[f"grey_{name}"] for name in ("5_percent", "median", "95_percent")] == [
        4 / 255,
        49 / 255,
        94 / 255,
    ]


@pytest.mark.parametrize("std", [3, 8, 15])
def test_the_noise_is_its_standard_deviation_on_any_slope_and_edge(std):
    flat = noisy(std)
    assert image_statistics(flat)["noise"] * 255 == pytest.approx(std, rel=0.03)
    slope = (noisy(std, mean=60) + np.linspace(0, 100, 200)).astype(np.uint8)
    slope[:, 100:] += 20
    assert image_statistics(slope)["noise"] * 255 == pytest.approx(std, rel=0.06)


def test_a_blurred_micrograph_is_less_sharp():
    from scipy.ndimage import gaussian_filter

    sharp = np.where(disks()[1], 200, 50).astype(np.uint8)
    values = [image_statistics(gaussian_filter(sharp, sigma))["sharpness"] for sigma in (0, 1, 3)]
    assert values == sorted(values, reverse=True)
    assert values[2] < 0.8 * values[0]


def test_a_flat_micrograph_has_statistics_too():
    assert image_statistics(np.full((2, 3), 9, np.uint8)) == {
        **dict.fromkeys(("grey_5_percent", "grey_median", "grey_95_percent"), 9 / 255),
        "sharpness": 0,
        "noise": 0,
    }


def test_entropy_is_one_bit_at_one_half_and_zero_where_the_network_is_certain():
    assert entropy(np.full((4, 4), 0.5, np.float32)) == pytest.approx(1, abs=1e-3)
    assert entropy(np.array([[0, 1, 1, 0]], np.float32)) < 0.03
    # 0.11 has an entropy of 0.5 bits.
    assert entropy(np.full((4, 4), 0.11, np.float32)) == pytest.approx(0.5, abs=0.01)


def test_a_digest_depends_on_pixels_and_shape():
    micrograph = noisy(5)
    assert pixel_digest(micrograph) == pixel_digest(np.asfortranarray(micrograph))
    assert pixel_digest(micrograph) != pixel_digest(micrograph.reshape(100, 400))
    changed = micrograph.copy()
    changed[0, 0] += 1
    assert pixel_digest(micrograph) != pixel_digest(changed)


def test_a_model_without_statistics_is_accepted_and_a_broken_file_refused(tmp_path):
    model = write_tiny_model(tmp_path / "model")
    assert read_image_statistics(model) is None
    (model / "image_statistics.json").write_text(json.dumps({"ranges": [1]}))
    with pytest.raises(InputError, match=r"image_statistics\.json: not the image statistics of a model"):
        read_image_statistics(model)


def test_the_file_of_older_models_is_read(tmp_path):
    ranges = {"noise": [0.1, 0.2]}
    (tmp_path / "appearance.json").write_text(json.dumps({"ranges": ranges, "digests": ["ab"]}))
    statistics = read_image_statistics(tmp_path)
    assert statistics.ranges == {"noise": (0.1, 0.2)}
    assert statistics.digests == ("ab",)
