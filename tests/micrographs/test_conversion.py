"""Any image that people save becomes an 8-bit grey micrograph, or is refused."""

import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.conversion import Scales, count_values, read_grey, rgb_to_grey, to_8_bit
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


def scale_of(*micrographs):
    """Return the scale of micrographs of one depth."""
    scales = Scales()
    for micrograph in micrographs:
        scales.add(count_values(micrograph))
    (scale,) = scales.result().values()
    return scale


@pytest.mark.parametrize(("largest", "converted"), [(255, 255), (256, 128), (4095, 255), (65535, 255)])
def test_the_8_highest_bits_in_use_are_kept(largest, converted):
    grey = np.array([[0, largest]], np.uint16)
    assert to_8_bit(grey, scale_of(grey)).tolist() == [[0, converted]]


def test_values_are_counted_by_hand():
    grey = np.array([[0, 1, 1, 2, 65535]] * 300_000, np.uint16)
    counts = count_values(grey)
    assert counts[[0, 1, 2, 65535]].tolist() == [300_000, 600_000, 300_000, 300_000]
    assert counts.sum() == grey.size


@pytest.mark.parametrize(("hot", "expected"), [(1, (4095, 1)), (2, (4095, 2)), (3, (65535, 0))])
def test_hot_pixels_become_white_as_long_as_they_are_few(hot, expected):
    grey = np.zeros((2, 10_000), np.uint16)
    grey[1] = 4095
    grey[0, :hot] = 65535
    scale = scale_of(grey)
    assert (scale.high, scale.saturated) == expected
    converted = to_8_bit(grey, scale)
    assert (converted[0, :hot] == 255).all()
    assert converted[1, 0] == (255 if hot < 3 else 15)


def test_values_that_fill_less_than_half_of_their_bits_are_stretched_by_percentiles_of_the_set():
    dark = np.linspace(30_000, 32_000, 10_000).astype(np.uint16).reshape(100, 100)
    bright = dark + np.uint16(1_000)
    dark[0, 0], bright[0, 0] = 0, 65535  # one dead and one hot pixel
    scale = scale_of(dark, bright)
    # Two of the 20,000 pixels may be darker, and two brighter, than the range that becomes 0 to 255.
    assert 30_000 <= scale.low <= 30_001
    assert 32_999 <= scale.high <= 33_000
    for grey in (dark, bright):
        inside = np.rint((grey.astype(float) - 30_000) * 255 / 3_000).clip(0, 255)
        assert np.abs(to_8_bit(grey, scale).astype(int) - inside).max() <= 1


def test_values_that_fill_half_of_their_bits_are_not_stretched():
    grey = np.linspace(2_000, 4_095, 10_000).astype(np.uint16).reshape(100, 100)
    scale = scale_of(grey)
    assert np.array_equal(to_8_bit(grey, scale), grey >> 4)


def test_each_depth_of_a_mixed_set_has_the_scale_that_it_has_alone():
    twelve = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    sixteen = twelve << 4
    scales = Scales()
    assert [scales.add(count_values(one)) for one in (twelve, sixteen)] == [12, 16]
    mixed = scales.result()
    assert np.array_equal(to_8_bit(twelve, mixed[12]), to_8_bit(twelve, scale_of(twelve)))
    assert np.array_equal(to_8_bit(sixteen, mixed[16]), to_8_bit(twelve, mixed[12]))


def test_white_pixels_are_reported(tmp_path, caplog):
    images = tmp_path / "mine" / "images"
    images.mkdir(parents=True)
    (images.parent / "annotations.csv").write_text("image_url;point;polygon\n")
    grey = np.full((100, 100), 1000, np.uint16)
    grey[0] = 0
    grey[5, 5] = 65535
    saved(images / "a.tif", grey)
    (tmp_path / "raw").mkdir()
    write_folder(tmp_path / "raw", images.parent, 0)
    assert "1 pixels of them are darker or brighter and become black or white" in caplog.text
    read = read_micrograph(tmp_path / "raw" / "images" / "a.png")
    assert (read[5, 5], read[1, 0]) == (255, 1000 >> 2)


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
    with pytest.raises(InputError, match=r"float\.tif: its pixels are of the type float32; save it with 8 or 16"):
        read_grey(tmp_path / "float.tif")
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([GREY] * 3), photometric="minisblack")
    with pytest.raises(InputError, match=r"pages\.tif: holds 3 images \(8 x 6, 8 x 6, 8 x 6 pixels\)"):
        read_grey(tmp_path / "pages.tif")
    turned = Image.Exif()
    turned[0x0112] = 6
    saved(tmp_path / "turned.jpg", GREY, exif=turned)
    with pytest.raises(InputError, match=r"turned\.jpg: is stored rotated or mirrored"):
        read_grey(tmp_path / "turned.jpg")
    saved(tmp_path / "other.gif", GREY)
    with pytest.raises(InputError, match=r"other\.gif: cannot be decoded as a PNG, TIFF, JPEG or BMP"):
        read_grey(tmp_path / "other.gif")
    Image.new("CMYK", (4, 4)).save(tmp_path / "print.jpg")
    with pytest.raises(
        InputError, match=r"print\.jpg: its pixels are CMYK, not grey or RGB; save it as one of them"
    ):
        read_grey(tmp_path / "print.jpg")
    with pytest.raises(InputError, match=r"nowhere\.png: no such image"):
        read_grey(tmp_path / "nowhere.png")
