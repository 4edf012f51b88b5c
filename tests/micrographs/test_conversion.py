"""Any image that people save becomes an 8-bit grey micrograph, or is refused."""

import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.conversion import bits_in_use, count_bits, read_grey, rgb_to_grey, to_8_bit
from microseg.micrographs.images import read_micrograph
from microseg.sources.archive import unpack_micrographs
from microseg.sources.folder import write_folder

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_values_stay_as_they_are(tmp_path, ending):
    assert np.array_equal(read_grey(saved(tmp_path / f"a.{ending}", GREY)), GREY)


def test_jpeg_stays_close(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    read = read_grey(saved(tmp_path / "a.jpg", smooth, quality=95))
    assert np.abs(read.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_stored_as_color_becomes_grey_again(tmp_path, ending):
    same = np.stack([GREY] * 3, axis=-1)
    transparent = np.dstack([same, GREY])
    assert np.array_equal(read_grey(saved(tmp_path / f"rgb.{ending}", same)), GREY)
    assert np.array_equal(read_grey(saved(tmp_path / f"rgba.{ending}", transparent)), GREY)


def test_color_becomes_luma_by_hand(tmp_path):
    expected = np.rint(COLOR @ np.array([0.2125, 0.7154, 0.0721]))
    assert np.array_equal(read_grey(saved(tmp_path / "a.png", COLOR)), expected)


def test_other_kinds_of_grey(tmp_path):
    palette = tmp_path / "p.png"
    Image.fromarray(np.stack([GREY] * 3, axis=-1)).quantize(48).save(palette)
    assert np.abs(read_grey(palette).astype(int) - GREY).max() <= 8
    assert np.array_equal(read_grey(saved(tmp_path / "1.png", GREY > 99)), (GREY > 99) * 255)
    assert np.array_equal(read_grey(saved(tmp_path / "la.png", np.dstack([GREY, GREY // 2]))), GREY)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_tiff_keeps_all_its_bits(tmp_path, byteorder):
    deep = GREY.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", deep, byteorder=byteorder)
    assert np.array_equal(read_grey(tmp_path / "a.tif"), deep)


def test_16_bit_png_keeps_all_its_bits(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    assert np.array_equal(read_grey(saved(tmp_path / "a.png", deep)), deep)


@pytest.mark.parametrize(
    ("largest", "bits", "converted"), [(255, 8, 255), (256, 9, 128), (4095, 12, 255), (65535, 16, 255)]
)
def test_the_8_highest_bits_in_use_are_kept(largest, bits, converted):
    grey = np.array([[0, largest]], np.uint16)
    assert bits_in_use([count_bits(grey)]) == (bits, 0)
    assert to_8_bit(grey, bits).tolist() == [[0, converted]]


def test_bits_are_counted_by_hand():
    grey = np.array([[0, 1, 1, 2, 3, 255, 256, 65535]], np.uint16)
    assert count_bits(grey).tolist() == [1, 2, 2, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(("hot", "expected"), [(1, (12, 1)), (2, (12, 2)), (3, (16, 0))])
def test_hot_pixels_become_white_as_long_as_they_are_few(hot, expected):
    grey = np.full((2, 10_000), 4095, np.uint16)
    grey[0, :hot] = 65535
    halves = [count_bits(half) for half in grey]
    assert bits_in_use(halves) == expected
    converted = to_8_bit(grey, expected[0])
    assert (converted[0, :hot] == 255).all()
    assert converted[1, 0] == (255 if hot < 3 else 15)


def test_white_pixels_are_reported(tmp_path, caplog):
    images = tmp_path / "mine" / "images"
    images.mkdir(parents=True)
    (images.parent / "annotations.csv").write_text("image_url;point;polygon\n")
    grey = np.full((100, 100), 1000, np.uint16)
    grey[5, 5] = 65535
    saved(images / "a.tif", grey)
    (tmp_path / "raw").mkdir()
    write_folder(tmp_path / "raw", images.parent, 0)
    assert "1 pixels of them are brighter than that and become white" in caplog.text
    read = read_micrograph(tmp_path / "raw" / "images" / "a.png")
    assert (read[5, 5], read[0, 0]) == (255, 1000 >> 2)


@pytest.mark.parametrize(("bits", "byteorder"), [(8, "<"), (8, ">"), (16, "<")])
def test_white_is_zero_is_inverted(tmp_path, byteorder, bits):
    positive = GREY.astype(f"uint{bits}") * (257 if bits == 16 else 1)
    stored = np.iinfo(positive.dtype).max - positive
    tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=byteorder, photometric="miniswhite")
    assert np.array_equal(read_grey(tmp_path / "a.tif"), positive)


def test_a_published_color_image_becomes_the_same_grey_as_one_of_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "PNG.zip", "w") as archive:
        archive.write(saved(tmp_path / "IMG_00001.png", COLOR), "PNG/IMG_00001.png")
    (tmp_path / "out").mkdir()
    unpack_micrographs(tmp_path / "PNG.zip", ["IMG_00001.png"], tmp_path / "out")
    unpacked = read_micrograph(tmp_path / "out" / "IMG_00001.png")
    assert np.array_equal(unpacked, read_grey(tmp_path / "IMG_00001.png"))
    assert np.array_equal(unpacked, rgb_to_grey(COLOR))


def test_a_set_of_16_bit_micrographs_keeps_one_scale(tmp_path):
    images = tmp_path / "mine" / "images"
    images.mkdir(parents=True)
    (images.parent / "annotations.csv").write_text("image_url;point;polygon\n")
    dark, bright = np.full((4, 4), 256, np.uint16), np.full((4, 4), 4095, np.uint16)
    saved(images / "dark.tif", dark)
    saved(images / "bright.png", bright)
    saved(images / "plain.png", GREY)
    (tmp_path / "raw").mkdir()
    write_folder(tmp_path / "raw", images.parent, 0)
    assert (read_micrograph(tmp_path / "raw" / "images" / "dark.png") == 16).all()
    assert (read_micrograph(tmp_path / "raw" / "images" / "bright.png") == 255).all()
    assert np.array_equal(read_micrograph(tmp_path / "raw" / "images" / "plain.png"), GREY)


def test_unusable_images_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "float.tif", GREY.astype(np.float32))
    with pytest.raises(InputError, match=r"float\.tif: its pixels have the mode 'F'"):
        read_grey(tmp_path / "float.tif")
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([GREY] * 3), photometric="minisblack")
    with pytest.raises(InputError, match=r"pages\.tif: holds several images"):
        read_grey(tmp_path / "pages.tif")
    turned = Image.Exif()
    turned[0x0112] = 6
    saved(tmp_path / "turned.jpg", GREY, exif=turned)
    with pytest.raises(InputError, match=r"turned\.jpg: is stored rotated or mirrored"):
        read_grey(tmp_path / "turned.jpg")
    saved(tmp_path / "other.gif", GREY)
    with pytest.raises(InputError, match=r"other\.gif: cannot be decoded as a PNG, TIFF or JPEG"):
        read_grey(tmp_path / "other.gif")
    with pytest.raises(InputError, match=r"nowhere\.png: no such image"):
        read_grey(tmp_path / "nowhere.png")
