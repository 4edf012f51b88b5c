"""The interval of one field's area fraction: against the model's own variance, and where there is none."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from microseg.measurement.integral_range import IntegralRangeInterval, fraction_interval

SIDE = 192


def squares(
    rng: np.random.Generator, side: int, fraction: float, shape: tuple[int, int] = (SIDE, SIDE)
) -> NDArray:
    """Draw squares at random places, with this fraction of them on average."""
    corners = rng.random(tuple(length + side - 1 for length in shape)) < 1 - (1 - fraction) ** (1 / side**2)
    windows = np.lib.stride_tricks.sliding_window_view(corners, (side, side))
    return np.asarray(windows.any(axis=(2, 3)))


def exact_variance(side: int, fraction: float) -> float:
    """Return the variance of the area fraction of a field, from the model's covariance of two pixels."""
    off = np.abs(np.arange(1 - side, side))
    rows, columns = np.meshgrid(off, off)
    density = -math.log(1 - fraction) / side**2
    covariance = np.exp(-density * (2 * side**2 - (side - rows) * (side - columns))) - (1 - fraction) ** 2
    return float((covariance * (SIDE - rows) * (SIDE - columns)).sum() / SIDE**4)


@pytest.mark.parametrize(("side", "fraction"), [(4, 0.05), (8, 0.3)])
def test_it_covers_where_islands_are_small_and_has_the_width_of_the_model(side: int, fraction: float):
    rng = np.random.default_rng(77 + side)
    found = [fraction_interval([squares(rng, side, fraction)]) for _ in range(120)]
    given = [one for one in found if isinstance(one, IntegralRangeInterval)]
    assert len(given) >= 110
    assert 0.92 <= np.mean([one.low <= fraction <= one.high for one in given]) <= 0.98
    variance = np.mean([one.integral_range_px2 * one.fraction * (1 - one.fraction) / SIDE**2 for one in given])
    assert variance == pytest.approx(exact_variance(side, fraction), rel=0.15)


def test_of_two_fields_it_is_narrower_than_of_one_and_all_area_counts():
    rng = np.random.default_rng(0)
    masks = [squares(rng, 6, 0.2) for _ in range(2)]
    one, two = fraction_interval(masks[:1]), fraction_interval(masks)
    assert two.fraction == pytest.approx(np.mean(masks))
    assert (two.high - two.low) / (one.high - one.low) == pytest.approx(0.5**0.5, rel=0.3)


def test_what_is_not_valid_counts_neither_as_island_nor_as_matrix():
    rng = np.random.default_rng(1)
    mask = squares(rng, 6, 0.2, (192, 240))
    valid = np.zeros_like(mask)
    valid[:, :200] = True
    expected, cut = fraction_interval([mask[:, :200]]), fraction_interval([mask | ~valid], [valid])
    assert (cut.fraction, cut.low, cut.high) == pytest.approx(
        (expected.fraction, expected.low, expected.high), rel=1e-4
    )


def test_a_mosaic_is_summed_in_blocks_without_another_result():
    tile = squares(np.random.default_rng(2), 40, 0.2, (1000, 1000))
    found, large = fraction_interval([tile]), fraction_interval([tile.repeat(2, axis=0).repeat(2, axis=1)])
    assert (large.low, large.high) == pytest.approx((found.low, found.high), rel=0.01)
    assert large.integral_range_px2 == pytest.approx(4 * found.integral_range_px2, rel=0.02)


def test_as_much_area_as_it_says_brings_the_accuracy():
    rng = np.random.default_rng(3)
    needed = np.mean([fraction_interval([squares(rng, 6, 0.2)]).area_for(0.1) for _ in range(30)])
    fields = needed / SIDE**2
    half = 1.96 * math.sqrt(exact_variance(6, 0.2) / fields)
    assert half == pytest.approx(0.1 * 0.2, rel=0.1)


def stripes() -> NDArray:
    """Return stripes along x at random heights."""
    rows = np.random.default_rng(4).random(SIDE) < 0.1
    return np.broadcast_to((rows | np.roll(rows, 1) | np.roll(rows, 2))[:, None], (SIDE, SIDE))


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((SIDE, SIDE), bool), "no islands"),
        (np.ones((SIDE, SIDE), bool), "nothing else"),
        (np.arange(SIDE**2).reshape(SIDE, SIDE) < SIDE**2 // 3, "fewer than about 10"),
        (squares(np.random.default_rng(5), 60, 0.2), "fewer than about 10"),
        (squares(np.random.default_rng(9), 22, 0.4), "not small"),
        (np.indices((SIDE, SIDE)).sum(axis=0) % 2 == 0, "regular"),
        (stripes(), "reach through"),
        (np.eye(3, dtype=bool), "fewer than about 10"),
    ],
)
def test_without_small_islands_there_is_a_reason_instead(mask: NDArray, reason: str):
    assert reason in fraction_interval([mask])
