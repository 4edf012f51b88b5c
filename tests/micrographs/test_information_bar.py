import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from microseg.micrographs.conversion import read_grey
from microseg.micrographs.information_bar import find_bar


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


def particles(picture, top, count, radius, grey):
    """Draw that many disks, at random places, into the rows below `top`."""
    random = np.random.default_rng(3)
    height, width = picture.shape
    rows, columns = np.ogrid[:height, :width]
    for _ in range(count):
        row, column = random.integers(top + radius, height - radius), random.integers(0, width)
        picture[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = grey
    return picture


def test_resin_with_a_few_brighter_pixels_is_no_bar():
    picture = micrograph()
    picture[255:] = np.where(np.random.default_rng(0).random((45, 400)) < 0.02, 7, 0)
    assert find_bar(picture) == 0


@pytest.mark.parametrize(("background", "grey"), [(0, 255), (255, 0), (255, 120)])
@pytest.mark.parametrize(("count", "radius"), [(8, 6), (25, 4), (60, 3), (150, 2)])
def test_resin_with_a_filler_and_saturated_phases_with_particles_are_no_bars(background, grey, count, radius):
    picture = micrograph()
    picture[240:] = background
    assert find_bar(particles(picture, 240, count, radius, grey)) == 0


def test_a_phase_with_a_wavy_edge_is_no_bar():
    picture = micrograph()
    edge = 250 + 12 * np.sin(np.arange(400) / 30)
    picture[np.arange(300)[:, None] > edge] = 255
    assert find_bar(picture) == 0


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize(("background", "ink", "line"), [(0, 255, None), (255, 0, 0)])
def test_a_bar_in_a_jpeg_is_found(background, ink, line, quality):
    file = io.BytesIO()
    Image.fromarray(with_bar(micrograph(), 44, background, ink, line)).save(file, format="JPEG", quality=quality)
    with Image.open(file) as image:
        assert abs(find_bar(np.asarray(image)) - 44) <= 1


def test_a_frame_around_the_bar_and_a_row_of_specimen_below_it():
    picture = with_bar(micrograph(), 40, 255, 0).copy()
    picture[260] = picture[298] = 0
    picture[299] = micrograph()[299]
    assert find_bar(picture) == 40


@pytest.mark.parametrize(
    ("name", "rows"), [("micrograph0", 50), ("micrograph15", 50), ("micrograph21", 64), ("micrograph26", 50)]
)
def test_bars_of_published_jpegs(shared_data, name, rows):
    path = shared_data / "as_published" / "images" / f"{name}.jpg"
    if not path.is_file():
        pytest.skip("no pictures as published in ../shared/data")
    assert abs(find_bar(read_grey(path)) - rows) <= 1


def test_no_bar_is_found_in_real_micrographs_without_one(shared_data):
    paths = sorted((shared_data / "metaldam" / "images").glob("*.*"))
    if not paths:
        pytest.skip("no metaldam in ../shared/data")
    assert [path.name for path in paths if find_bar(read_grey(path))] == []


def test_a_picture_that_is_flat_all_over_has_no_bar():
    assert find_bar(np.zeros((300, 400), np.uint8)) == 0
    mask = np.zeros((300, 400), np.uint8)
    mask[50:290, 100:140] = 255
    assert find_bar(mask) == 0
