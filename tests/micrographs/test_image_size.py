"""Mosaics are read; an image that claims to be larger than any micrograph is refused before it is decoded."""

import io
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffWriter, imwrite

from microseg.common.errors import InputError
from microseg.micrographs.conversion import read_grey
from microseg.micrographs.decoding import read_stored, stored_size
from microseg.micrographs.images import image_size, open_image, read_mask, read_micrograph
from microseg.sources.archive import unpack_micrographs


def claiming(width, height):
    """Return a PNG of one pixel whose header claims another size, with a valid checksum."""
    content = io.BytesIO()
    Image.new("L", (1, 1)).save(content, format="PNG")
    png = content.getvalue()
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def test_a_mosaic_beyond_the_limit_of_pillow_is_opened(tmp_path):
    (tmp_path / "a.png").write_bytes(claiming(15_000, 12_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(tmp_path / "a.png") == (12_000, 15_000)


@pytest.mark.parametrize("read", [image_size, read_micrograph, read_mask, read_grey])
def test_a_size_beyond_our_limit_is_refused(tmp_path, read):
    (tmp_path / "a.png").write_bytes(claiming(50_000, 40_001))
    message = r"a\.png: has 50,000 x 40,001 pixels, the limit is 2,000,000,000 in all; cut it"
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.png")


def test_the_limit_itself_is_allowed(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (30, 20), 7).save(path)
    with open_image(path, path, limit=600) as image:
        assert image.size == (30, 20)
    with pytest.raises(InputError, match="the limit is 599 in all"), open_image(path, path, limit=599):
        pass


def test_the_published_archive_keeps_a_tighter_limit(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("PNG/IMG_00001.png", claiming(10_000, 10_000))
    with pytest.raises(InputError, match=r"IMG_00001\.png: has 10,000 x 10,000 pixels, the limit is 67,108,864"):
        unpack_micrographs(tmp_path / "a.zip", ["IMG_00001.png"], tmp_path)


def test_the_size_of_a_file_is_that_of_the_image_that_is_read(tmp_path):
    large, small = np.zeros((40, 60), np.uint8), np.zeros((10, 15), np.uint8)
    with TiffWriter(tmp_path / "preview_first.tif") as tiff:
        tiff.write(small, photometric="minisblack", subfiletype=1)
        tiff.write(large, photometric="minisblack")
    alpha = {"planarconfig": "contig", "extrasamples": ["unassalpha"]}
    imwrite(tmp_path / "grey_and_alpha.tif", np.zeros((40, 60, 2), np.uint16), photometric="minisblack", **alpha)
    Image.fromarray(large).save(
        tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[Image.fromarray(small)]
    )
    for path in tmp_path.iterdir():
        assert stored_size(path) == read_stored(path).values.shape[:2] == (40, 60)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"b\.png: cannot be decoded"):
        stored_size(tmp_path / "b.png")
