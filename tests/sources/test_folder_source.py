"""The user's own folder becomes a raw dataset; what is missing or damaged in it is named."""

import csv

import numpy as np
import pytest
from PIL import Image

from microseg.annotations.polygons import read_annotations, scan_annotations
from microseg.common.errors import InputError
from microseg.micrographs.images import read_micrograph
from microseg.micrographs.line_map import read_line_map
from microseg.sources.folder import write_folder

TRIANGLE = "[(0, 0), (4, 0), (0, 4)]"
LINES = [["image_url", "point", "polygon"], ["a.png", "(1, 1)", TRIANGLE], ["b.png", "(2, 2)", TRIANGLE]]


@pytest.fixture
def source(tmp_path):
    """A folder of two micrographs, a.png and b.png of 12 rows and 16 columns, with one polygon each."""
    folder = tmp_path / "mine"
    (folder / "images").mkdir(parents=True)
    for name, pixels in micrographs().items():
        Image.fromarray(pixels).save(folder / "images" / name)
    write_table(folder, LINES)
    return folder


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def micrographs():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (12, 16), dtype=np.uint8) for name in ("a.png", "b.png")}


def write_table(folder, rows, delimiter=";", name="annotations.csv"):
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def test_images_and_annotations_arrive_unchanged(source, target):
    write_folder(target, source, 0)
    assert sorted(path.name for path in target.iterdir()) == [
        *("annotations.csv", "images", "line_map.csv", "metadata.csv")
    ]
    assert (target / "metadata.csv").read_text() == "image_url\na.png\nb.png\n"
    for name, pixels in micrographs().items():
        assert np.array_equal(read_micrograph(target / "images" / name), pixels)
    assert read_annotations(target / "annotations.csv") == read_annotations(source / "annotations.csv")


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_another_delimiter_becomes_the_published_one(source, target, delimiter):
    write_table(source, LINES, delimiter)
    write_folder(target, source, 0)
    assert (target / "annotations.csv").read_text().splitlines() == [";".join(fields) for fields in LINES]


def test_the_place_of_every_line_is_known(source, target):
    (source / "annotations.csv").write_text(
        f"image_url;point;polygon\n\na.png;(1, 1)\n\n\nb.png;(2, 2);{TRIANGLE}\n"
    )
    write_folder(target, source, 0)
    table = target / "annotations.csv"
    (mask,), (unusable,) = scan_annotations(table, read_line_map(table))
    place = f"{source.as_posix()}/annotations.csv, line"
    assert (read_line_map(table).place(unusable.line), unusable.detail[:8]) == (f"{place} 3", "2 fields")
    assert mask[0].place == f"{place} 6"


def test_other_suffixes_become_png_in_images_and_tables(source, target):
    pixels = micrographs()["a.png"]
    (source / "images" / "a.png").unlink()
    Image.fromarray(pixels).save(source / "images" / "a.TIF", format="TIFF")
    write_table(source, [LINES[0], ["a.TIF", *LINES[1][1:]], LINES[2]])
    write_table(
        source, [["image_url", "type"], ["b.png", "x, y"], ["a.TIF", "z"]], name="metadata.csv", delimiter=";"
    )
    write_folder(target, source, 0)
    assert np.array_equal(read_micrograph(target / "images" / "a.png"), pixels)
    assert [mask.img_name for mask in read_annotations(target / "annotations.csv")] == ["a.png", "b.png"]
    with (target / "metadata.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["image_url", "type"], ["b.png", "x, y"], ["a.png", "z"]]


def test_the_information_bar_is_cut_off(source, target):
    write_folder(target, source, 5)
    assert np.array_equal(read_micrograph(target / "images" / "a.png"), micrographs()["a.png"][:7])


def test_cutting_off_everything_is_refused(source, target):
    with pytest.raises(InputError, match=r"a\.png: has 12 rows, so 12 cannot be cut off"):
        write_folder(target, source, 12)


def test_no_such_folder(tmp_path, target):
    with pytest.raises(InputError, match=r"nowhere: no such folder; set download\.path"):
        write_folder(target, tmp_path / "nowhere", 0)


def test_no_images(source, target):
    for path in (source / "images").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(InputError, match="images: no image in it; put PNG, TIFF, JPEG or BMP files there"):
        write_folder(target, source, 0)
    for path in (source / "images").iterdir():
        path.unlink()
    (source / "images").rmdir()
    with pytest.raises(InputError, match="images: no such folder"):
        write_folder(target, source, 0)


def test_no_table(source, target):
    (source / "annotations.csv").unlink()
    with pytest.raises(InputError, match=r"mine: one of annotations\.csv, .* is needed, found none"):
        write_folder(target, source, 0)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "text"])
def test_a_damaged_png_is_named(source, target, damage):
    path = source / "images" / "b.png"
    content = bytearray(path.read_bytes())
    match damage:
        case "truncated":
            content = content[: len(content) // 2]
        case "one bit":
            content[len(content) // 2] ^= 1
        case "empty":
            content = bytearray()
        case "text":
            content = bytearray(b"not an image")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"b\.png: cannot be decoded"):
        write_folder(target, source, 0)


def test_two_images_of_one_name_are_refused(source, target):
    Image.fromarray(micrographs()["a.png"]).save(source / "images" / "a.tif")
    with pytest.raises(InputError, match=r"a\.png and .*a\.tif: images of the same name"):
        write_folder(target, source, 0)


def test_metadata_without_names_is_refused(source, target):
    write_table(source, [["name", "type"], ["a.png", "x"]], name="metadata.csv")
    with pytest.raises(InputError, match=r"metadata\.csv, line 1: no column image_url"):
        write_folder(target, source, 0)
