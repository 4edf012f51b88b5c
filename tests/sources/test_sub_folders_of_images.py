"""One's own images in sub-folders, a specimen each, with masks, tables and scales of the same folders."""

import csv

import numpy as np
import pytest
import tifffile
from PIL import Image

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import read_annotations
from microseg.common.errors import InputError
from microseg.micrographs.metadata import read_metadata
from microseg.sources.folder import write_folder

SIZE = (12, 16)
SQUARE = "(4, 4);[(2, 2), (6, 2), (6, 6), (2, 6)]"


@pytest.fixture
def source(tmp_path):
    for number, name in enumerate(["heat42/IMG_1.png", "heat43/IMG_1.png", "heat43/only.png"]):
        path = tmp_path / "mine/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(SIZE, 100 + number, np.uint8)).save(path)
    return tmp_path / "mine"


@pytest.fixture
def target(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def test_files_of_the_same_name_in_two_sub_folders_are_two_micrographs(source, target):
    lines = [f"heat42/IMG_1.png;{SQUARE}", f"heat43\\IMG_1.PNG;{SQUARE}", f"only.png;{SQUARE}"]
    (source / "annotations.csv").write_text("\n".join(["image_url;point;polygon", *lines]) + "\n")
    write_folder(target, source, 0)
    names = ["heat42_IMG_1.png", "heat43_IMG_1.png", "heat43_only.png"]
    assert sorted(path.name for path in (target / "images").iterdir()) == names
    assert [one.img_name for one in read_annotations(target / "annotations.csv")] == names
    assert [row["specimen"] for row in read_metadata(target / "metadata.csv").values()] == [
        *("heat42", "heat43", "heat43")
    ]


def test_masks_in_the_same_sub_folders_are_paired(source, target):
    for number, name in enumerate(["heat42/IMG_1.png", "heat43/IMG_1.png"]):
        mask = np.zeros(SIZE, np.uint8)
        mask[2 : 4 + number, 2:4] = 255
        (source / "masks" / name).parent.mkdir(parents=True)
        Image.fromarray(mask).save(source / "masks" / name)
    write_folder(target, source, 0)
    areas = {
        one.img_name: create_binary_mask(one, *SIZE).sum() for one in read_annotations(target / "annotations.csv")
    }
    assert areas == {"heat42_IMG_1.png": 4, "heat43_IMG_1.png": 6}


def test_a_name_in_both_sub_folders_has_to_say_which(source, target):
    (source / "masks").mkdir()
    Image.fromarray(np.eye(*SIZE, dtype=np.uint8)).save(source / "masks/IMG_1.png")
    with pytest.raises(InputError, match=r"may mean heat42/IMG_1\.png or heat43/IMG_1\.png"):
        write_folder(target, source, 0)


def test_two_names_that_become_one_are_refused(source, target):
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(source / "images/heat42_IMG_1.png")
    with pytest.raises(InputError, match=r"both would be called heat42_IMG_1\.png; rename one of them"):
        write_folder(target, source, 0)


def metadata_of(target):
    with (target / "metadata.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scales_of_headers_are_noted_and_those_of_the_user_count(source, target):
    (source / "annotations.csv").write_text(f"image_url;point;polygon\nonly.png;{SQUARE}\n")
    for name in ("heat42/IMG_1.png", "heat43/IMG_1.png"):
        (source / "images" / name).unlink()
        tifffile.imwrite(
            (source / "images" / name).with_suffix(".tif"),
            np.zeros(SIZE, np.uint8),
            imagej=True,
            resolution=(20, 20),
            metadata={"unit": "um"},
        )
    write_folder(target, source, 0)
    sizes = {row["image_url"]: row["um_per_pixel"] for row in metadata_of(target)}
    assert sizes == {"heat42_IMG_1.png": "0.05", "heat43_IMG_1.png": "0.05", "heat43_only.png": ""}


def test_columns_of_the_user_are_kept(source, target):
    (source / "annotations.csv").write_text(f"image_url;point;polygon\nonly.png;{SQUARE}\n")
    (source / "metadata.csv").write_text("image_url;specimen;um_per_pixel\nonly.png;mine;0.1\n")
    write_folder(target, source, 0)
    assert metadata_of(target) == [{"image_url": "heat43_only.png", "specimen": "mine", "um_per_pixel": "0.1"}]
