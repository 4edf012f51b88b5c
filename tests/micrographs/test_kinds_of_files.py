"""One scene, saved in all the ways that microscopes, cameras and image programs save it, gives the same grey."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.conversion import read_grey
from microseg.micrographs.decoding import read_stored
from microseg.micrographs.images import read_micrograph
from microseg.sources.folder import write_folder

from image_files import write_png_of_16_bits

ROWS, COLUMNS = np.ogrid[:60, :80]
SCENE = (128 + 110 * np.sin(ROWS / 20) * np.cos(COLUMNS / 25)).astype(np.uint8)
TWELVE, SIXTEEN = SCENE.astype(np.uint16) << 4, SCENE.astype(np.uint16) * 257


def rgb(grey):
    return np.stack([grey] * 3, axis=-1)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)


def save_mpo(path, others):
    """Write a JPEG of several pictures, as cameras do."""
    save(path, rgb(SCENE), format="MPO", save_all=True, append_images=others, quality=98)


def save_palette(path):
    image = Image.fromarray(255 - SCENE)  # the indices
    image.putpalette([255 - value for value in range(256) for _ in range(3)])
    image.save(path)


def save_pages(path, *pages, **options):
    with tifffile.TiffWriter(path) as tiff:
        for number, page in enumerate(pages):
            tiff.write(page, subfiletype=1 if number else 0, photometric="minisblack", metadata=None, **options)


def save_reduced_first(path):
    with tifffile.TiffWriter(path) as tiff:
        for flag, page in ((1, SCENE[::3, ::3]), (0, SCENE)):
            tiff.write(page, subfiletype=flag, metadata=None)


def save_pyramid(path):
    with tifffile.TiffWriter(path) as tiff:
        for step in (1, 2, 4):
            tiff.write(rgb(SCENE)[::step, ::step], photometric="rgb", metadata=None)


def upright(path, orientation):
    tifffile.imwrite(path, SCENE, metadata=None, extratags=[(274, "H", 1, orientation, True)])


def with_exif(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(path, SCENE, exif=exif, quality=98)


KINDS = {
    "grey8.png": lambda path: save(path, SCENE),
    "grey12.tif": lambda path: tifffile.imwrite(path, TWELVE),
    "grey16.png": lambda path: save(path, SIXTEEN),
    "color12.png": lambda path: write_png_of_16_bits(path, rgb(TWELVE)),
    "palette.png": save_palette,
    "alpha12.png": lambda path: write_png_of_16_bits(path, np.dstack([TWELVE, TWELVE // 3])),
    "planar16.tif": lambda path: tifffile.imwrite(
        path, np.stack([SIXTEEN] * 3), photometric="rgb", planarconfig="separate"
    ),
    "camera.jpg": lambda path: save_mpo(path, [Image.new("RGB", (40, 30))]),
    "undefined.jpg": lambda path: with_exif(path, 0),
    "windows.bmp": lambda path: save(path, SCENE),
    "thumbnail.tif": lambda path: save_pages(path, SCENE, SCENE[::3, ::3]),
    "big_endian.tif": lambda path: tifffile.imwrite(path, SIXTEEN, byteorder=">"),
}
MORE_KINDS = {
    "color16_alpha.png": lambda path: write_png_of_16_bits(path, np.dstack([rgb(SIXTEEN), TWELVE])),
    "color16.tif": lambda path: tifffile.imwrite(path, rgb(SIXTEEN), photometric="rgb", byteorder=">"),
    "color16_zip.tif": lambda path: tifffile.imwrite(path, rgb(SIXTEEN), photometric="rgb", compression="zlib"),
    "grey16_alpha.tif": lambda path: tifffile.imwrite(path, np.dstack([SIXTEEN, TWELVE]), extrasamples=[2]),
    "planar8.tif": lambda path: tifffile.imwrite(
        path, np.stack([SCENE] * 3), photometric="rgb", planarconfig="separate"
    ),
    "signed.tif": lambda path: tifffile.imwrite(path, (SCENE.astype(np.int32) * 257 - 2**15).astype(">i2")),
    "signed_positive.tif": lambda path: tifffile.imwrite(path, TWELVE.astype(np.int16)),
    "lzw.tif": lambda path: save(path, rgb(SCENE), compression="tiff_lzw"),
    "lzw16.tif": lambda path: save(path, SIXTEEN, compression="tiff_lzw"),
    "jpeg.tif": lambda path: save(path, SCENE, compression="jpeg", quality=98),
    "pyramid.tif": save_pyramid,
    "unflagged_thumbnail.tif": lambda path: save_pages(path, SCENE, SCENE[::2, ::2]),
    "reduced_first.tif": save_reduced_first,
    "orientation0.tif": lambda path: upright(path, 0),
    "orientation9.tif": lambda path: upright(path, 9),
    "color.bmp": lambda path: save(path, rgb(SCENE)),
    "rgba.png": lambda path: save(path, np.dstack([rgb(SCENE), SCENE])),
}


def written(folder, kinds):
    """Write the scene in each of the kinds as a user's folder; return the raw dataset made of it."""
    mine, raw = folder / "mine", folder / "raw"
    (mine / "images").mkdir(parents=True)
    (mine / "annotations.csv").write_text("image_url;point;polygon\n")
    for name, write in kinds.items():
        write(mine / "images" / name)
    raw.mkdir()
    write_folder(raw, mine, 0)
    return raw


def test_twelve_kinds_in_one_folder_differ_by_one_grey_level_at_most(tmp_path):
    raw = written(tmp_path, KINDS)
    assert len(list((raw / "images").iterdir())) == 12
    for path in (raw / "images").iterdir():
        assert np.abs(read_micrograph(path).astype(int) - SCENE).max() <= 1, path.name


@pytest.mark.parametrize("name", MORE_KINDS)
def test_further_kinds(tmp_path, name):
    (path,) = (written(tmp_path, {name: MORE_KINDS[name]}) / "images").iterdir()
    assert np.abs(read_micrograph(path).astype(int) - SCENE).max() <= 1


@pytest.mark.parametrize("name", ["stereo.jpg", "two.tif", "near.tif"])
def test_several_images_of_equal_rank_are_refused_by_what_they_are(tmp_path, name):
    path = tmp_path / name
    if name == "stereo.jpg":
        save_mpo(path, [Image.new("RGB", (80, 60))])
        sizes = "80 x 60, 80 x 60"
    else:
        second = SCENE if name == "two.tif" else SCENE[:40, :41]
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(SCENE, metadata=None)
            tiff.write(second, metadata=None)
        sizes = "80 x 60, 80 x 60" if name == "two.tif" else "80 x 60, 41 x 40"
    with pytest.raises(InputError, match=rf"{name}: holds 2 images \({sizes} pixels\); save each in a file"):
        read_grey(path)


def test_a_tiff_that_was_not_copied_to_its_end_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SIXTEEN, metadata=None)
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"a\.tif: its end is missing; copy it again"):
        read_grey(tmp_path / "a.tif")


def test_rare_values_below_zero_become_black(tmp_path):
    values = np.full((100, 100), 500, np.int16)
    values[3, 4] = -7
    tifffile.imwrite(tmp_path / "a.tif", values)
    grey = read_grey(tmp_path / "a.tif")
    assert (grey[3, 4], grey[0, 0]) == (0, 500)


class TestWhatIsStored:
    """Masks are numbers, which neither a palette nor a photometric interpretation may change."""

    def test_indices_of_a_palette(self, tmp_path):
        save_palette(tmp_path / "a.png")
        stored = read_stored(tmp_path / "a.png")
        assert np.array_equal(stored.values, 255 - SCENE)
        assert stored.palette[255 - 7].tolist() == [7, 7, 7]

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
    def test_white_is_zero(self, tmp_path, compression):
        path = tmp_path / "a.tif"
        Image.fromarray(SCENE).save(path, tiffinfo={262: 0}, compression=compression)
        with tifffile.TiffFile(path) as tiff:
            inverted = tiff.pages.first.photometric == 0
        stored = read_stored(path)
        assert stored.white_is_zero == inverted
        assert np.array_equal(read_grey(path), 255 - stored.values if inverted else stored.values)

    def test_labels_of_32_bits(self, tmp_path):
        labels = np.arange(100_000, 104_800, dtype=np.uint32).reshape(60, 80)
        tifffile.imwrite(tmp_path / "a.tif", labels)
        assert np.array_equal(read_stored(tmp_path / "a.tif").values, labels)

    def test_alpha_is_a_channel(self, tmp_path):
        save(tmp_path / "a.png", np.dstack([SCENE, 255 - SCENE]))
        stored = read_stored(tmp_path / "a.png")
        assert stored.values.shape[2] == 2
        assert np.array_equal(stored.values[..., 1], 255 - SCENE)

    def test_one_bit(self, tmp_path):
        save(tmp_path / "a.png", SCENE > 100)
        stored = read_stored(tmp_path / "a.png")
        assert stored.bits == 1
        assert np.array_equal(stored.values, SCENE > 100)
