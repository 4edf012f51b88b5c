"""Augmentation stays within its limits, and changes masks only with their crops."""

import numpy as np
import pytest

from microseg.common.params import AugmentParams
from microseg.training.augmentation import augment, random_d4

from tiny_training import NO_AUGMENTATION

GREY = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
MASK = GREY > 0.6


def augmented(seed: int, grey=GREY, **changes) -> tuple[np.ndarray, np.ndarray]:
    settings = AugmentParams.model_validate(NO_AUGMENTATION | changes)
    return augment(grey, grey > 0.6, settings, np.random.default_rng(seed))


def test_without_augmentation_nothing_changes():
    grey, mask = augmented(0)
    assert np.array_equal(grey, GREY)
    assert np.array_equal(mask, MASK)


@pytest.mark.parametrize(("shape", "count"), [((4, 4), 8), ((4, 6), 4)])
def test_all_symmetries_of_the_shape_occur_and_no_others(shape, count):
    grey = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    expected = {side.tobytes() for turns in range(4) for side in (np.rot90(grey, turns), np.rot90(grey, turns).T)}
    expected = {np.ascontiguousarray(grey).tobytes(), *expected}
    seen = set()
    for seed in range(100):
        transformed, mask = random_d4(grey, grey > 5, np.random.default_rng(seed))
        assert transformed.shape == shape
        assert np.array_equal(mask, transformed > 5)
        seen.add(np.ascontiguousarray(transformed).tobytes())
    assert len(seen) == count
    assert seen <= expected


def test_hflip_keeps_up_and_down():
    seen = {augmented(seed, flips="hflip")[0].tobytes() for seed in range(20)}
    assert seen == {GREY.tobytes(), np.ascontiguousarray(GREY[:, ::-1]).tobytes()}
    for grey, mask in (augmented(seed, flips="hflip") for seed in range(20)):
        assert np.array_equal(mask, grey > 0.6)


def test_brightness_shifts_by_at_most_the_limit():
    shifts = [augmented(seed, brightness=0.1)[0] - GREY for seed in range(50)]
    assert all(np.ptp(shift) < 1e-6 for shift in shifts)
    assert 0.08 < max(shift.max() for shift in shifts) <= 0.1 + 1e-6
    assert -0.1 - 1e-6 <= min(shift.min() for shift in shifts) < -0.08


def test_contrast_scales_around_the_mean_by_at_most_the_limit():
    spans = [np.ptp(augmented(seed, contrast=0.2)[0]) for seed in range(50)]
    means = [augmented(seed, contrast=0.2)[0].mean() for seed in range(50)]
    assert means == pytest.approx([0.5] * 50, abs=1e-6)
    assert 0.8 - 1e-6 <= min(spans) < 0.84
    assert 1.16 < max(spans) <= 1.2 + 1e-6


def test_noise_has_mean_zero_and_at_most_the_standard_deviation_of_the_limit():
    flat = np.full((200, 200), 0.5, dtype=np.float32)
    stds = [float(augmented(seed, grey=flat, noise_std=0.1)[0].std()) for seed in range(20)]
    assert max(stds) < 0.102
    assert max(stds) > 0.08
    assert augmented(1, grey=flat, noise_std=0.1)[0].mean() == pytest.approx(0.5, abs=0.001)


def test_blur_keeps_the_mean_and_smooths_edges():
    edge = np.repeat([0.0, 1.0], 32).astype(np.float32) * np.ones((64, 1), dtype=np.float32)
    steepest = []
    for seed in range(20):
        blurred, mask = augmented(seed, grey=edge, blur_sigma=4.0)
        assert np.array_equal(mask, edge > 0.6)
        assert blurred.mean() == pytest.approx(0.5, abs=1e-3)
        steepest.append(np.abs(np.diff(blurred, axis=1)).max())
    # An edge blurred by a Gaussian of sigma 4 has a slope of 1 / (4 sqrt(2 pi)), which is 0.0997.
    assert 0.09 < min(steepest) < 0.15
    assert max(steepest) > 0.2


def test_gamma_raises_grey_values_to_a_power_within_the_limit_and_its_inverse():
    exponents = []
    for seed in range(200):
        grey, mask = augmented(seed, gamma=0.5)
        exponents.append(float(np.log(grey[2, 3]) / np.log(GREY[2, 3])))
        assert grey == pytest.approx(GREY ** exponents[-1], abs=1e-5)
        assert np.array_equal(mask, MASK)
        assert grey.dtype == np.float32
    assert 1 / 1.5 - 1e-4 <= min(exponents) < 0.68
    assert 1.48 < max(exponents) <= 1.5 + 1e-4
    # The logarithm is symmetric: as often below 0 as above, and the geometric mean is 1.
    assert np.mean(np.log(exponents)) == pytest.approx(0, abs=0.04)


def test_erasing_paints_smooth_rectangles_over_the_grey_values_and_leaves_the_mask():
    # Every pixel differs by 1 from its neighbours.
    checks = (np.indices((80, 100)).sum(axis=0) % 2).astype(np.float32)
    spans = []
    for seed in range(60):
        grey, mask = augmented(seed, grey=checks, random_erasing=1.0)
        assert np.array_equal(mask, checks > 0.6)
        assert grey.dtype == np.float32
        assert 0 <= grey.min() <= grey.max() <= 1
        painted = grey != checks
        rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
        spans.append((np.ptp(rows) + 1, np.ptp(columns) + 1))
        # A rectangle slopes by at most 0.4 from one side to the other, of at least 12 and 15 pixels.
        inside = painted[1:] & painted[:-1]
        steps = np.abs(np.diff(grey, axis=0))[inside]
        assert np.mean(steps < 0.4 / 11 + 1e-6) > 0.8
        assert 0.15 * 0.15 * 0.9 < painted.mean() <= 1
    assert min(rows for rows, _ in spans) >= 0.15 * 80 - 1
    assert any(columns == 100 for _, columns in spans)
    assert any(columns < 60 for _, columns in spans)


def test_the_fraction_of_erased_crops_is_the_parameter():
    changed = [not np.array_equal(augmented(seed, random_erasing=0.3)[0], GREY) for seed in range(400)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.06)


def test_the_same_random_numbers_give_the_same_crop():
    everything = {
        "flips": "d4",
        "brightness": 0.1,
        "contrast": 0.1,
        "noise_std": 0.1,
        "blur_sigma": 1.0,
        "gamma": 0.5,
    }
    everything |= {"random_erasing": 0.5}
    first, second, other = (augmented(seed, **everything)[0] for seed in (5, 5, 6))
    assert np.array_equal(first, second)
    assert first.dtype == np.float32
    assert not np.array_equal(first, other)
