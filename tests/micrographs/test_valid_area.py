"""A black canvas around a mosaic is no specimen; dark phases, pores and scattered black pixels are."""

import numpy as np
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.valid_area import AUTO, WHOLE, bounding_box, find_canvas, valid_area


def specimen(height=120, width=160):
    return np.random.default_rng(2).integers(1, 200, (height, width)).astype(np.uint8)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_canvas_is_all_black_that_reaches_the_border(kind):
    mosaic = np.zeros((300, 400), kind)
    mosaic[100:220, 50:210] = specimen()
    mosaic[160:280, 150:310] = specimen()  # a second tile, shifted
    mosaic[120:150, 80:120] = 0  # a pore
    expected = np.ones(mosaic.shape, bool)
    expected[100:220, 50:210] = expected[160:280, 150:310] = False
    assert np.array_equal(find_canvas(mosaic), expected)


def test_a_dark_canvas_need_not_be_black_but_a_bright_one_is_left_to_the_user():
    assert find_canvas(np.pad(specimen(), 40, constant_values=12)).mean() > 0.5
    assert find_canvas(np.pad(specimen(), 40, constant_values=255)) is None


def test_corners_without_a_picture_are_canvas():
    rows, columns = np.ogrid[:200, :200]
    round_field = (rows - 100) ** 2 + (columns - 100) ** 2 <= 100**2
    image = np.where(round_field, 90, 0).astype(np.uint8)
    assert np.array_equal(find_canvas(image), ~round_field)


def test_a_dark_phase_that_reaches_the_border_in_many_places_is_specimen():
    image = specimen()
    image[::4] = 0
    image[:, ::4] = 0
    assert find_canvas(image) is None


@pytest.mark.parametrize("rows", [0, 2])
def test_a_few_black_rows_are_specimen(rows):
    image = specimen()
    image[120 - rows :] = 0
    assert find_canvas(image) is None


def test_a_picture_that_is_black_all_over_is_specimen():
    assert find_canvas(np.zeros((40, 60), np.uint8)) is None


def test_the_choice(tmp_path):
    mosaic = np.pad(specimen(), 40)
    assert valid_area(mosaic, WHOLE, "a.png") is None
    assert valid_area(specimen(), AUTO, "a.png") is None
    assert np.array_equal(valid_area(mosaic, AUTO, "a.png"), np.pad(np.ones((120, 160), bool), 40))
    mask = np.zeros((210, 240), np.uint8)
    mask[50:90, 60:80] = 1
    (tmp_path / "heat42").mkdir()
    Image.fromarray(mask).save(tmp_path / "heat42" / "a.tif")
    found = valid_area(mosaic, str(tmp_path), "heat42/a.png")  # the mask includes the information bar
    assert np.array_equal(found, mask[:200] > 0)
    assert bounding_box(found) == (slice(50, 90), slice(60, 80))
    assert np.array_equal(valid_area(mosaic, str(tmp_path / "heat42" / "a.tif"), "any.png"), found)


def test_an_unusable_mask_of_the_valid_area_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no masks of the valid area of a\.png; put one there"):
        valid_area(specimen(), str(tmp_path), "a.png")
    Image.fromarray(specimen(50, 60)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((120, 160), np.uint8)).save(tmp_path / "b.png")
    for name in "ab":
        message = rf"{name}\.png: no valid area of {name}\.jpg; it needs the same size"
        with pytest.raises(InputError, match=message):
            valid_area(specimen(), str(tmp_path), f"{name}.jpg")
