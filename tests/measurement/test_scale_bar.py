"""Scale bars: of a round length, as long as that is in the picture, and burnt into nothing that is measured."""

import numpy as np
import pytest
from PIL import Image

from microseg.measurement.formatting import scale_bar
from microseg.measurement.output_images import write_overlay


@pytest.mark.parametrize(
    ("width_um", "length_um", "label"),
    [
        (51.2, 10, "10 µm"),
        (40, 10, "10 µm"),
        (39.9, 5, "5 µm"),
        (0.7, 0.1, "100 nm"),
        (3.2, 0.5, "500 nm"),
        (900, 200, "200 µm"),
        (9000, 2000, "2 mm"),
    ],
)
def test_the_largest_round_length_below_a_quarter_of_the_width(width_um, length_um, label):
    assert scale_bar(width_um) == (pytest.approx(length_um / width_um), label)


@pytest.mark.parametrize(("pixel_size_um", "pixels"), [(0.05, 200), (0.1, 200), (0.33, 151)])
def test_the_bar_of_an_overlay_has_its_length_in_pixels(tmp_path, pixel_size_um, pixels):
    mask = np.zeros((768, 1024), bool)
    write_overlay(tmp_path / "a.jpg", np.full(mask.shape, 60, np.uint8), mask, pixel_size_um)
    white = np.asarray(Image.open(tmp_path / "a.jpg").convert("L")) > 150
    rows = white.sum(axis=1)
    # Rows of the bar are white in one piece; those of its label are not. A black edge of a pixel belongs to it.
    assert rows.max() == pytest.approx(pixels - 2, abs=1)
    assert white[:700].sum() == 0


def test_without_a_pixel_size_there_is_none(tmp_path):
    mask = np.zeros((100, 200), bool)
    write_overlay(tmp_path / "a.jpg", np.full(mask.shape, 60, np.uint8), mask)
    assert np.unique(np.asarray(Image.open(tmp_path / "a.jpg"))).tolist() == [60]
