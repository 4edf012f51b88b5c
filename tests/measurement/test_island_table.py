import math

import numpy as np
import pytest
from skimage.draw import ellipse, polygon2mask
from skimage.measure import label, regionprops

from microseg.measurement.islands import COLUMNS, feret_diameters, island_table, label_islands


def table(mask, logits=None):
    return island_table(label(mask), np.zeros(mask.shape) if logits is None else logits)


def test_a_rectangle():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 5:45] = True
    row = table(mask, np.where(mask, math.log(3), -2)).iloc[0]
    assert (row["label"], row["area_um2"]) == (1, 400)
    assert row["equivalent_diameter_um"] == pytest.approx(math.sqrt(4 * 400 / math.pi))
    assert row["feret_max_um"] == pytest.approx(math.hypot(40, 9))  # between midpoints of the pixels' outer edges
    assert row["feret_min_um"] == 10
    assert row["aspect_ratio"] == pytest.approx(math.hypot(40, 9) / 10)
    assert row["orientation_deg"] == 0
    assert row["mean_probability"] == pytest.approx(0.75)
    assert not row["touches_border"]
    assert math.isnan(row["nearest_um"])


def test_a_disk_is_round_and_as_wide_in_every_direction():
    rows, columns = np.ogrid[:101, :101]
    row = table((rows - 50) ** 2 + (columns - 50) ** 2 <= 30.4**2).iloc[0]
    assert row["equivalent_diameter_um"] == pytest.approx(60.8, rel=0.01)
    assert row["feret_max_um"] == pytest.approx(60.8, rel=0.02)
    assert row["feret_min_um"] == pytest.approx(60.8, rel=0.02)
    assert row["perimeter_um"] == pytest.approx(2 * math.pi * 30.4, rel=0.02)
    assert row["circularity"] == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135, 170])
def test_the_long_axis_is_measured_counter_clockwise_as_one_sees_it(angle):
    mask = np.zeros((200, 200), bool)
    mask[ellipse(100, 100, 20, 60, rotation=math.radians(angle))] = True
    row = table(mask).iloc[0]
    difference = (row["orientation_deg"] - angle + 90) % 180 - 90
    assert abs(difference) < 0.5
    assert row["feret_max_um"] == pytest.approx(120, rel=0.02)
    assert row["feret_min_um"] == pytest.approx(40, rel=0.03)
    # Up and to the right is counter-clockwise from the horizontal.
    if angle == 45:
        assert mask[70, 130]
        assert not mask[130, 130]


def test_the_largest_feret_diameter_is_that_of_scikit_image_and_the_smallest_that_of_all_directions():
    random = np.random.default_rng(5)
    directions = np.linspace(0, np.pi, 3601)
    for _ in range(10):
        mask = polygon2mask((80, 80), random.uniform(5, 75, (5, 2)))
        region = max(regionprops(label(mask)), key=lambda one: one.area)
        largest, smallest = feret_diameters(region.image)
        assert largest == pytest.approx(region.feret_diameter_max)
        middles = np.concatenate([region.coords + shift for shift in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))])
        extents = np.ptp(middles @ np.array([np.cos(directions), np.sin(directions)]), axis=0)
        assert smallest <= extents.min() + 1e-9
        assert smallest == pytest.approx(extents.min(), rel=1e-3)


def test_one_pixel_and_one_line_are_measured():
    mask = np.zeros((9, 9), bool)
    mask[2, 2] = True
    mask[6, 1:8] = True
    rows = table(mask)
    assert rows["feret_max_um"].tolist() == [1, 7]
    assert rows["feret_min_um"].tolist() == pytest.approx([math.sqrt(0.5), 1])


@pytest.mark.parametrize("radius", [4, 5.3, 8, 20])
def test_a_disk_and_a_square_have_no_orientation(radius):
    rows, columns = np.ogrid[:60, :120]
    mask = (rows - 30.3) ** 2 + (columns - 30.4) ** 2 <= radius**2
    mask[20:40, 80:100] = True
    assert table(mask)["orientation_deg"].isna().tolist() == [True, True]


def test_specks_have_a_size_and_no_shape():
    mask = np.zeros((40, 40), bool)
    mask[1:8, 1:8] = True  # 49 pixels
    mask[20:25, 20:30] = True  # 50 pixels
    speck, island = table(mask).to_dict("records")
    assert (speck["area_um2"], speck["feret_min_um"]) == (49, 7)
    assert all(math.isnan(speck[column]) for column in ("aspect_ratio", "circularity", "orientation_deg"))
    assert island["aspect_ratio"] == pytest.approx(math.hypot(10, 4) / 5)
    assert island["orientation_deg"] == 0


def test_the_nearest_neighbour_is_the_one_with_the_nearest_centroid():
    mask = np.zeros((20, 60), bool)
    for column in (5, 15, 45):
        mask[9:12, column - 1 : column + 2] = True
    assert table(mask)["nearest_um"].tolist() == [10, 10, 30]


def test_an_island_at_the_border_is_marked():
    mask = np.zeros((10, 10), bool)
    mask[0:2, 3:5] = mask[5:7, 5:7] = True
    assert table(mask)["touches_border"].tolist() == [True, False]


def test_small_islands_are_removed_and_the_others_numbered_without_gaps():
    mask = np.zeros((10, 20), bool)
    mask[1, 1] = mask[3:5, 3:5] = mask[7:10, 15:19] = True
    kept, labels = label_islands(mask, smallest_area=4)
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert labels[3, 3] == 1
    assert labels[8, 16] == 2
    assert kept.sum() == 4 + 12
    assert np.array_equal(kept, labels > 0)
    everything, labels = label_islands(mask, smallest_area=0)
    assert np.array_equal(everything, mask)
    assert labels.max() == 3


def test_pixels_that_touch_at_a_corner_are_one_island():
    _, labels = label_islands(np.eye(4, dtype=bool), 0)
    assert labels.max() == 1


def test_no_island_is_a_table_without_rows():
    rows = table(np.zeros((5, 5), bool))
    assert tuple(rows) == COLUMNS
    assert len(rows) == 0
    assert tuple(table(np.ones((5, 5), bool))) == COLUMNS


def test_a_mosaic_is_labelled_a_chunk_of_rows_at_a_time_with_the_same_result(monkeypatch):
    mask = np.random.default_rng(8).random((90, 40)) < 0.3
    whole = label_islands(mask, smallest_area=5)
    monkeypatch.setattr("microseg.prediction.logits.ROWS_AT_A_TIME", 7)
    for one, other in zip(label_islands(mask, smallest_area=5), whole, strict=True):
        assert np.array_equal(one, other)
