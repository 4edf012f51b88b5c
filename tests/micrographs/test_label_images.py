"""Masks and label images: the stored values count, whatever a viewer shows; what is ambiguous is refused."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.label_images import read_labels

LABELS = np.zeros((12, 16), np.uint8)
LABELS[2:6, 3:8], LABELS[9, 9] = 1, 3

WHITE_FIRST = [255, 255, 255, 200, 0, 0, 0, 0, 255, 0, 0, 0]


def png(bits, color_type, rows):
    """Return a PNG file of packed rows, which Pillow itself does not write with 2 or 4 bits of grey."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 4, len(rows), bits, color_type, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def save_palette(path):
    image = Image.fromarray(LABELS).convert("L")
    image.putpalette(WHITE_FIRST)
    image.save(path)


def save_color(path, colors=LABELS):
    Image.fromarray(np.repeat(colors[..., None], 3, axis=2)).save(path)


def save_with_opacity(path, opacity):
    Image.fromarray(np.dstack([LABELS, opacity])).save(path)


WRITERS = {
    "grey.png": lambda path: Image.fromarray(LABELS).save(path),
    "grey.bmp": lambda path: Image.fromarray(LABELS).save(path),
    "white_is_zero.tif": lambda path: tifffile.imwrite(path, LABELS, photometric="miniswhite"),
    "white_is_zero_16.tif": lambda path: tifffile.imwrite(path, LABELS.astype("u2"), photometric="miniswhite"),
    "big_endian.tif": lambda path: tifffile.imwrite(path, LABELS.astype(">u2"), byteorder=">"),
    "compressed.tif": lambda path: tifffile.imwrite(path, LABELS.astype("u2"), compression="zlib", imagej=True),
    "signed.tif": lambda path: tifffile.imwrite(path, LABELS.astype("i2")),
    "32_bits.tif": lambda path: tifffile.imwrite(path, LABELS.astype("u4")),
    "float.tif": lambda path: tifffile.imwrite(path, LABELS.astype("f4")),
    "palette.png": save_palette,
    "palette.tif": save_palette,
    "palette.bmp": save_palette,
    "color.png": save_color,
    "planar.tif": lambda path: tifffile.imwrite(
        path, np.stack([LABELS] * 3), photometric="rgb", planarconfig="separate"
    ),
    "opaque.png": lambda path: save_with_opacity(path, np.full_like(LABELS, 255)),
    "transparent_background.png": lambda path: save_with_opacity(path, (LABELS > 0) * np.uint8(255)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_stored_values(tmp_path, name):
    WRITERS[name](tmp_path / name)
    image = read_labels(tmp_path / name)
    assert np.array_equal(image.values, LABELS)
    assert image.counts() == {"0": 171, "1": 20, "3": 1}
    assert image.shows_zero_bright == ("white" in name or "palette" in name)
    assert np.array_equal(image.mask(frozenset({"1", "3"})), LABELS > 0)


@pytest.mark.parametrize(("bits", "row"), [(4, b"\x01\x23"), (2, b"\x1b")])
def test_few_bits_are_not_stretched_to_255(tmp_path, bits, row):
    (tmp_path / "a.png").write_bytes(png(bits, 0, [row]))
    assert read_labels(tmp_path / "a.png").values.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit_is_read_as_it_is_stored(tmp_path, photometric):
    tifffile.imwrite(tmp_path / "a.tif", LABELS > 0, photometric=photometric)
    image = read_labels(tmp_path / "a.tif")
    assert np.array_equal(image.values, LABELS > 0)
    assert image.shows_zero_bright == (photometric == "miniswhite")


def test_colors_are_values_beside_those_of_greys(tmp_path):
    colors = np.repeat(LABELS[..., None], 3, axis=2)
    colors[LABELS == 1] = (200, 0, 7)
    Image.fromarray(colors).save(tmp_path / "a.png")
    image = read_labels(tmp_path / "a.png")
    assert image.counts() == {"0": 171, "3": 1, "#c80007": 20}
    assert np.array_equal(image.mask(frozenset({"#c80007"})), LABELS == 1)


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (lambda path: tifffile.imwrite(path, LABELS / np.float32(2)), "holds values from 0 to 1.5; a mask"),
        (lambda path: tifffile.imwrite(path, LABELS.astype("i2") - np.int16(1)), "holds values from -1 to 2"),
        (lambda path: tifffile.imwrite(path, np.stack([LABELS] * 2), photometric="minisblack"), "holds 2 images"),
        (lambda path: path.write_bytes(png(16, 2, [bytes(range(24))])), "its colors have 16 bits; save it with 8"),
        (lambda path: Image.new("CMYK", (4, 4)).save(path, format="TIFF"), "not grey or RGB"),
        (lambda path: path.write_bytes(b"no image"), "cannot be decoded as a PNG, TIFF, JPEG or BMP"),
        # Painted black on a transparent layer: nothing but the opacity shows the islands.
        (
            lambda path: Image.fromarray(np.dstack([LABELS * 0, LABELS * 80])).save(path, format="PNG"),
            "transparency and color contradict each other",
        ),
    ],
)
def test_ambiguous_and_foreign_images_are_refused_by_name(tmp_path, write, complaint):
    path = tmp_path / "a.tif"
    write(path)
    with pytest.raises(InputError, match=rf"a\.tif: .*{complaint}"):
        read_labels(path)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: no such image"):
        read_labels(tmp_path / "a.png")
