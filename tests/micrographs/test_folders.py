"""Folders of micrographs: sub-folders, links, files of the system, other formats, and names that look alike."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.folders import ImageNames, list_images


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path, format="PNG")


def test_images_are_named_with_their_sub_folder(tmp_path):
    for name in ("heat43/IMG_0001.png", "heat42/IMG_0001.png", "heat42/area 2/IMG_0001.png", "b.png"):
        image(tmp_path / name)
    assert list(list_images(tmp_path).images) == [
        *("b.png", "heat42/IMG_0001.png", "heat42/area 2/IMG_0001.png", "heat43/IMG_0001.png")
    ]


def test_linked_folders_and_images_are_followed_but_never_in_a_circle(tmp_path):
    image(tmp_path / "share/b.png")
    image(tmp_path / "mine/a.png")
    (tmp_path / "mine/more").symlink_to(tmp_path / "share", target_is_directory=True)
    (tmp_path / "mine/once_more").symlink_to(tmp_path / "share", target_is_directory=True)
    (tmp_path / "share/circle").symlink_to(tmp_path / "mine", target_is_directory=True)
    (tmp_path / "mine/c.png").symlink_to(tmp_path / "share/b.png")
    assert list(list_images(tmp_path / "mine").images) == ["a.png", "c.png", "more/b.png"]


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/a.png", "$RECYCLE.BIN/a.png", "__MACOSX/a.png"),
        *(".hidden/a.png", "._a.png", "Thumbs.db", "desktop.ini", ".DS_Store"),
    ],
)
def test_system_files_are_neither_images_nor_worth_a_word(tmp_path, name):
    image(tmp_path / "a.png")
    image(tmp_path / name)
    found = list_images(tmp_path)
    assert list(found.images) == ["a.png"]
    assert found.note is None


def test_files_of_other_formats_are_mentioned_and_companions_of_images_are_not(tmp_path):
    for name in ("a.png", "b.CZI", "c.czi", "d.webp", "e", "a.txt", "a-png.hdr", "fields.csv", "notes.docx"):
        image(tmp_path / name)
    found = list_images(tmp_path)
    assert list(found.images) == ["a.png"]
    assert found.note == "Ignored files that are not PNG, TIFF, JPEG or BMP: 2 x .czi, 1 x .webp, 1 x no suffix"


def test_a_folder_without_an_image_is_refused_with_what_it_has(tmp_path):
    image(tmp_path / "a.czi")
    with pytest.raises(InputError, match=r"no image in it; put .* files there \(ignored files .*: 1 x \.czi\)"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list_images(tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="an administrator may open every folder")
def test_a_folder_that_cannot_be_opened_is_refused(tmp_path):
    image(tmp_path / "closed/a.png")
    image(tmp_path / "b.png")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(InputError, match="closed: cannot be opened"):
            list_images(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize("second", ["A.PNG", "a.tif", unicodedata.normalize("NFD", "\u00e4.png")])
def test_two_images_whose_results_would_have_one_name_are_refused(tmp_path, second):
    image(tmp_path / ("\u00e4.png" if second[0] == "a" and len(second) == 6 else "a.png"))
    image(tmp_path / second)
    with pytest.raises(InputError, match="images of the same name"):
        list_images(tmp_path)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("heat42/IMG_1.png", "heat42/IMG_1.png"),
        (r"heat42\IMG_1.png", "heat42/IMG_1.png"),
        ("img_1.PNG", None),  # in both sub-folders
        ("only.png", "heat43/only.png"),
        ("Gefu\u0308ge.png", "heat43/Gef\u00fcge.png"),
        ("5\u00b5m.png", "5\u03bcm.png"),
        ("none.png", None),
    ],
)
def test_a_name_is_found_however_it_is_written(written, name):
    names = ImageNames(
        ["heat42/IMG_1.png", "heat43/IMG_1.png", "heat43/only.png", "heat43/Gef\u00fcge.png", "5\u03bcm.png"]
    )
    assert names.in_table(written) == name
