import numpy as np
import pytest
from PIL import Image, ImageDraw

from microseg.measurement.intake import find_bar


def micrograph(height=300, width=400, deviation=12.0):
    noise = np.random.default_rng(4).normal(100, deviation, (height, width))
    return noise.clip(0, 255).astype(np.uint8)


def with_bar(picture, height, background, ink, line=None):
    """Write a bar as microscopes do: over the lowest rows, a scale bar and text in one grey on another."""
    image = Image.fromarray(picture.copy())
    draw = ImageDraw.Draw(image)
    top = picture.shape[0] - height
    draw.rectangle((0, top, picture.shape[1], picture.shape[0]), fill=background)
    draw.text((10, top + height // 4), "20.00 kV  5 000 x  WD 10 mm  ETD", fill=ink)
    draw.rectangle((280, top + height // 2, 360, top + height // 2 + 3), fill=ink)
    if line is not None:
        draw.line((0, top, picture.shape[1], top), fill=line, width=2)
    return np.asarray(image)


@pytest.mark.parametrize(("background", "ink"), [(0, 255), (255, 0), (40, 200)])
@pytest.mark.parametrize("height", [12, 24, 60])
def test_a_bar_is_found_to_the_row(background, ink, height):
    assert find_bar(with_bar(micrograph(), height, background, ink)) == height


def test_a_line_above_the_bar_is_part_of_it():
    assert find_bar(with_bar(micrograph(), 30, 0, 255, line=255)) == 30


def test_16_bit_values():
    picture = with_bar(micrograph(), 30, 0, 255).astype(np.uint16) * 257
    assert find_bar(picture) == 30


@pytest.mark.parametrize("deviation", [12.0, 0.5])
def test_a_micrograph_without_a_bar_keeps_all_its_rows(deviation):
    assert find_bar(micrograph(deviation=deviation)) == 0


def test_a_dark_bottom_without_writing_is_specimen():
    picture = micrograph()
    picture[270:] = 0
    assert find_bar(picture) == 0


def test_a_picture_that_is_flat_all_over_has_no_bar():
    assert find_bar(np.zeros((300, 400), np.uint8)) == 0
    mask = np.zeros((300, 400), np.uint8)
    mask[50:290, 100:140] = 255
    assert find_bar(mask) == 0
