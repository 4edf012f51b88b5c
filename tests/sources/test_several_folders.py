"""A dataset of several folders, each with its own form of annotations, is their union."""

import csv
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, scan_annotations
from microseg.common.errors import InputError
from microseg.micrographs.line_map import read_line_map
from microseg.sources.folder import annotated_folders, write_folder

from dataset_forms import write_coco_form, write_csv_form, write_mask_form
from pipeline_files import ROOT

SIZE = (30, 40)
SQUARE = AnnotatedPolygon((8, 8), [(5, 5), (12, 5), (12, 12), (5, 12)])


def add(source, folder, name, form, *arguments):
    """Write a folder with one micrograph, the same square on each, in a form of its own."""
    (source / folder / "images").mkdir(parents=True)
    pixels = np.full(SIZE, len(list(source.iterdir())), np.uint8)
    Image.fromarray(pixels).save(source / folder / "images" / name)
    form(source / folder, [ImageMask(name.replace(".bmp", ".png"), [SQUARE])], *arguments)


@pytest.fixture
def source(tmp_path):
    add(tmp_path / "set", "first", "a.png", write_csv_form)
    add(tmp_path / "set", "second", "b.png", write_coco_form, SIZE)
    add(tmp_path / "set", "third", "c.bmp", write_mask_form, SIZE)
    (tmp_path / "raw").mkdir()
    return tmp_path / "set"


def test_every_folder_is_read_in_its_own_form(source, tmp_path):
    write_folder(tmp_path / "raw", source, 0)
    table = tmp_path / "raw" / "annotations.csv"
    masks, unusable = scan_annotations(table, read_line_map(table))
    assert not unusable
    drawn = create_binary_mask(ImageMask("", [SQUARE]), *SIZE)
    for mask, name in zip(masks, ["a.png", "b.png", "c.png"], strict=True):
        assert mask.img_name == name
        assert np.array_equal(create_binary_mask(mask, *SIZE), drawn)
    places = [mask[0].place.removeprefix(f"{source.as_posix()}/") for mask in masks]
    assert places == [
        "first/annotations.csv, line 2",
        "second/annotations.json, annotations.0",
        "third/masks/c.png",
    ]
    assert sorted(path.name for path in (tmp_path / "raw" / "images").iterdir()) == ["a.png", "b.png", "c.png"]


def test_metadata_has_the_columns_of_all(source, tmp_path):
    (source / "first" / "metadata.csv").write_text("image_url;heat\na.png;42\n")
    (source / "third" / "metadata.csv").write_text("image_url,corrected\nc.bmp,true\n")
    write_folder(tmp_path / "raw", source, 0)
    with (tmp_path / "raw" / "metadata.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            *(["image_url", "heat", "corrected"], ["a.png", "42", ""]),
            *(["b.png", "", ""], ["c.png", "", "true"]),
        ]


def test_one_may_lie_in_the_other(source):
    (source / "images").mkdir()
    assert [folder.name for folder in annotated_folders(source)] == ["set", "first", "second", "third"]


def test_the_same_name_in_two_folders_is_refused(source, tmp_path):
    add(source, "fourth", "A.png", write_csv_form)
    with pytest.raises(InputError, match=r"first/images/a\.png and .*fourth/images/A\.png: both would be called"):
        write_folder(tmp_path / "raw", source, 0)


def test_the_same_picture_in_two_folders_is_refused(source, tmp_path):
    with Image.open(source / "second" / "images" / "b.png") as image:
        image.save(source / "third" / "images" / "c.bmp")
    with pytest.raises(InputError, match=r"second/images/b\.png and .*third/images/c\.bmp: the same picture"):
        write_folder(tmp_path / "raw", source, 0)


@pytest.mark.parametrize(
    ("path", "is_ignored"),
    [
        ("corrected/images.dvc", False),
        ("review.csv", False),
        ("corrected/images/a.png", True),
        ("images/a.png", True),
    ],
)
def test_git_keeps_what_dvc_add_writes_in_folders_of_the_inbox(tmp_path, path, is_ignored):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    shutil.copy(ROOT / "data" / "inbox" / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    done = subprocess.run(["git", "-C", tmp_path, "check-ignore", "--quiet", path], check=False)
    assert done.returncode == (0 if is_ignored else 1)
