"""Logits to masks: both methods against values worked out by hand and against independent implementations."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import filters, morphology

from microseg.prediction.postprocessing import (
    binary_closing,
    binary_erosion,
    binary_opening,
    morphological_mask,
    otsu_threshold,
    sigmoid_mask,
)


def square(size, *corners):
    """Logits of -4 with squares of +4, given as (first row, first column, side)."""
    logits = np.full((size, size), -4, np.float32)
    for row, column, side in corners:
        logits[row : row + side, column : column + side] = 4
    return logits


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_sigmoid_mask_is_where_the_sigmoid_exceeds_the_threshold(threshold):
    logits = np.random.default_rng(0).normal(scale=3, size=(50, 60)).astype(np.float16)
    expected = 1 / (1 + np.exp(-logits.astype(np.float64))) > threshold
    np.testing.assert_array_equal(sigmoid_mask(logits, threshold), expected)


def test_a_sigmoid_of_exactly_the_threshold_is_background():
    assert sigmoid_mask(np.array([[-0.01, 0, 0.01]]), 0.5).tolist() == [[False, False, True]]


def test_huge_logits_do_not_overflow():
    with np.errstate(all="raise"):
        assert sigmoid_mask(np.array([[-65504, 65504]], np.float16), 0.5).tolist() == [[False, True]]


def test_opening_removes_what_is_smaller_than_the_disk():
    mask = morphological_mask(square(40, (5, 5, 2), (20, 20, 9)), 0.0, opening_radius=2, closing_radius=0)
    assert not mask[:15].any()
    assert mask[22:27, 22:27].all()


def test_closing_fills_a_hole():
    logits = square(40, (10, 10, 15))
    logits[17, 17] = -4
    assert not morphological_mask(logits, 0.0, 0, 0)[17, 17]
    assert morphological_mask(logits, 0.0, 0, 2)[17, 17]


def test_opening_comes_before_closing():
    # Two specks three pixels apart: closing first would join and so save them.
    logits = square(30, (14, 10, 2), (14, 14, 2))
    assert not morphological_mask(logits, 0.0, 2, 3).any()


def test_agrees_with_an_independent_implementation_away_from_the_border():
    logits = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(120, 140)), 3)
    rows, columns = np.ogrid[-3:4, -3:4]
    disk = rows**2 + columns**2 <= 9
    expected = ndimage.binary_closing(ndimage.binary_opening(logits > 0.01, disk), disk)
    actual = morphological_mask(logits, 0.01, 3, 3)
    np.testing.assert_array_equal(actual[12:-12, 12:-12], expected[12:-12, 12:-12])


@pytest.mark.parametrize("radius", range(8))
@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (9, 2), (31, 40)])
def test_erosion_opening_and_closing_equal_scikit_image_s_with_mode_ignore(shape, radius):
    random = np.random.default_rng(radius)
    disk = morphology.disk(radius)
    for fraction in (0.02, 0.5, 0.98):
        mask = random.random(shape) < fraction
        np.testing.assert_array_equal(binary_erosion(mask, radius), morphology.erosion(mask, disk, mode="ignore"))
        np.testing.assert_array_equal(binary_opening(mask, radius), morphology.opening(mask, disk, mode="ignore"))
        np.testing.assert_array_equal(binary_closing(mask, radius), morphology.closing(mask, disk, mode="ignore"))


def test_an_island_at_the_border_is_not_eroded_there():
    mask = morphological_mask(square(40, (0, 10, 12)), 0.0, opening_radius=3, closing_radius=0)
    assert mask[0, 13:19].all()


def test_otsu_separates_two_classes_that_a_threshold_of_zero_does_not():
    logits = square(40, (10, 10, 15)) - 6  # -10 and -2: nothing above 0
    assert not morphological_mask(logits, 0.0, 0, 0).any()
    np.testing.assert_array_equal(morphological_mask(logits, "otsu", 0, 0), logits > -6)


def test_otsu_maximizes_the_variance_between_the_classes():
    random = np.random.default_rng(2)
    logits = np.concatenate([random.normal(-6, 2, 1500), random.normal(3, 1, 300)]).reshape(30, 60)

    def between(mask):
        low, high = logits[~mask], logits[mask]
        return low.size * high.size * (low.mean() - high.mean()) ** 2

    best = max(between(logits > limit) for limit in np.sort(logits, axis=None)[:-1])
    # The threshold is one of 256 histogram bins, so it may miss the optimum slightly.
    assert between(morphological_mask(logits, "otsu", 0, 0)) > 0.9999 * best


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_otsu_in_bands_of_rows_equals_scikit_image_s_of_the_whole(kind):
    random = np.random.default_rng(3)
    logits = np.where(random.random((2500, 40)) < 0.2, 3, -6) + random.normal(0, 2, (2500, 40))
    assert otsu_threshold(logits.astype(kind)) == filters.threshold_otsu(logits.astype(kind).astype(np.float32))


@pytest.mark.parametrize("value", [-3.0, 0.0, 3.0])
def test_constant_logits_have_no_two_classes(value):
    assert not morphological_mask(np.full((10, 12), value, np.float16), "otsu", 3, 3).any()
