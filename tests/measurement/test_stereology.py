"""Stereology of masks of known geometry, against the theory of the continuous shapes."""

import math

import numpy as np
import pytest
from skimage.measure import label

from microseg.measurement.stereology import interceptions_per_length, measure_field, saltykov_counts, touched_sides


def disks(height, width, centres, radius):
    rows, columns = np.ogrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for row, column in centres:
        mask |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return mask


def measured(mask, direction="both"):
    return measure_field(mask, label(mask), direction)


def test_disks_have_the_fraction_number_intercept_and_boundary_that_circles_have():
    radius, number = 20.3, 12
    centres = [(60 + 100 * row, 60 + 100 * column) for row in range(3) for column in range(4)]
    mask = disks(320, 420, centres, radius)
    field, area = measured(mask), mask.size
    fraction = number * math.pi * radius**2 / area
    assert field["islands"] == number
    assert field["area_fraction"] == pytest.approx(fraction, rel=0.01)
    assert field["number_per_mm2"] == number / area
    assert field["mean_area_um2"] == pytest.approx(math.pi * radius**2, rel=0.01)
    # A line meets a circle where it passes within a radius: N_L = N_A times the diameter, in every direction.
    assert field["interceptions_per_mm"] == pytest.approx(number / area * 2 * radius, rel=0.02)
    assert field["mean_intercept_um"] == pytest.approx(math.pi / 2 * radius, rel=0.02)
    assert field["mean_free_path_um"] == pytest.approx((1 - fraction) * area / (number * 2 * radius), rel=0.02)
    # S_V = 4 / pi times the boundary in the plane, which is 2 pi r for each disk.
    assert field["boundary_per_mm"] == pytest.approx(4 / math.pi * number / area * 2 * math.pi * radius, rel=0.02)


def test_stripes_have_the_intercept_and_free_path_of_their_widths():
    mask = np.tile(np.repeat([True, False], [5, 15]), (40, 30))
    along, across = measured(mask, "y"), measured(mask, "x")
    assert across["area_fraction"] == 0.25
    # 599 steps from pixel to pixel, 59 of them over an edge of a stripe.
    assert across["interceptions_per_mm"] == 59 / 2 / 599
    assert across["mean_intercept_um"] == pytest.approx(5, rel=0.02)
    assert across["mean_free_path_um"] == pytest.approx(15, rel=0.02)
    assert across["boundary_per_mm"] == 4 * 59 / 2 / 599
    assert along["interceptions_per_mm"] == 0
    assert math.isnan(along["mean_free_path_um"])


def test_the_phase_of_stripes_does_not_bias_the_interceptions():
    period = np.repeat([True, False], [7, 13])
    counts = [
        interceptions_per_length(np.tile(np.roll(period, shift), (2, 5)))["x"] for shift in range(period.size)
    ]
    assert np.mean(counts) == pytest.approx(1 / 20, rel=1e-12)


def test_both_directions_pool_their_lines():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:4] = True
    assert interceptions_per_length(mask)["x"] == 4 / 2 / (4 * 5)
    assert interceptions_per_length(mask)["y"] == 4 / 2 / (6 * 3)
    assert interceptions_per_length(mask)["both"] == 8 / 2 / (4 * 5 + 6 * 3)


def test_islands_at_the_border_count_half_and_in_a_corner_a_quarter():
    mask = np.zeros((20, 30), bool)
    mask[0:3, 0:3] = True  # a corner
    mask[8:11, 0:2] = True  # a side
    mask[18:20, 14:17] = True  # another side
    mask[9:12, 14:17] = True  # inside
    labels = label(mask)
    touched = touched_sides(labels)
    assert touched.sum(axis=0).tolist() == [1, 1, 2, 0]  # top, bottom, left, right
    assert sorted(saltykov_counts(touched)) == [1 / 4, 1 / 2, 1 / 2, 1]
    assert measured(mask)["number_per_mm2"] == 2.25 / 600


def test_windows_that_tile_a_plane_count_each_island_once_between_them():
    random = np.random.default_rng(3)
    # One disk in each of 8 x 8 cells, some of them across the sides and corners of the 16 windows.
    cells = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2) * 50
    plane = disks(400, 400, cells[(cells > 0).all(axis=1)] + random.uniform(-12, 12, (49, 2)), 11.5)
    windows = [
        plane[row : row + 100, column : column + 100]
        for row in range(0, 400, 100)
        for column in range(0, 400, 100)
    ]
    assert sum(saltykov_counts(touched_sides(label(window))).sum() for window in windows) == pytest.approx(
        49, abs=2
    )
    assert sum(label(window).max() for window in windows) > 60


def test_number_and_mean_area_are_not_defined_where_an_island_spans_the_field():
    for span in (np.s_[:, 10:12], np.s_[10:12]):
        mask = np.zeros((20, 30), bool)
        mask[span] = mask[2:5, 2:5] = True
        field = measured(mask)
        assert field["islands"] == 2
        assert math.isnan(field["number_per_mm2"])
        assert math.isnan(field["mean_area_um2"])
        assert field["mean_intercept_um"] > 0
    mask[10:12, 0] = False  # one side is not enough
    assert measured(mask)["number_per_mm2"] == 1.5 / 600


def test_specks_are_counted_apart():
    mask = np.zeros((60, 80), bool)
    mask[1:8, 1:8] = True  # 49 pixels
    mask[20, 20] = True
    mask[0, 40] = True
    mask[30:35, 30:40] = True  # 50 pixels
    mask[50:60, 50:60] = True  # at a side
    field = measured(mask)
    assert (field["islands"], field["specks"]) == (5, 3)
    assert field["number_per_mm2"] * mask.size == 3 + 2 / 2
    assert field["number_without_specks_per_mm2"] * mask.size == 1 + 1 / 2


def test_an_empty_and_a_full_field():
    empty, full = measured(np.zeros((5, 5), bool)), measured(np.ones((5, 5), bool))
    assert (empty["area_fraction"], empty["islands"], empty["number_per_mm2"]) == (0, 0, 0)
    assert math.isnan(empty["mean_area_um2"])
    assert (full["area_fraction"], full["islands"]) == (1, 1)
    assert math.isnan(full["number_per_mm2"])
    assert math.isnan(full["mean_free_path_um"])
