"""Files of LabelMe, beside the micrographs or in annotations/, as people have them."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import read_annotations
from microseg.common.errors import InputError
from microseg.sources.folder import write_folder

from dataset_forms import write_images

SIZE = (40, 50)
SQUARE = {"label": "MA", "points": [[10, 10], [20, 10], [20, 20], [10, 20]], "shape_type": "polygon"}


@pytest.fixture
def source(tmp_path):
    write_images(tmp_path / "mine", ["a.png", "b.png"], SIZE)
    return tmp_path / "mine"


def write_file(path, shapes, **changes):
    content = {"version": "5.8.1", "flags": {}, "imagePath": "a.png", "imageData": None, "shapes": shapes}
    content |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1]} | changes
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def taken_in(source, **options):
    raw = source.parent / f"raw_{len(list(source.parent.iterdir()))}"
    raw.mkdir()
    write_folder(raw, source, options.get("crop_bottom", 0), options.get("foreground"))
    height = SIZE[0] - options.get("crop_bottom", 0)
    return {
        mask.img_name: create_binary_mask(mask, height, SIZE[1])
        for mask in read_annotations(raw / "annotations.csv")
    }


@pytest.mark.parametrize("place", ["images/a.json", "annotations/a.json", "annotations.json"])
def test_a_file_is_found_where_people_put_it(source, place):
    write_file(source / place, [SQUARE])
    masks = taken_in(source)
    assert masks.keys() == {"a.png"}
    assert masks["a.png"].sum() == 100
    assert masks["a.png"][10:20, 10:20].all()


@pytest.mark.parametrize(
    "written", ["..\\raw images\\a.tif", "/data/old/a.jpeg", "A.PNG", "8_a.tif", "cb0618f6-a.png"]
)
def test_the_path_in_the_file_is_that_of_another_machine(source, written):
    write_file(source / "annotations" / "something.json", [SQUARE], imagePath=written)
    assert taken_in(source)["a.png"].sum() == 100


# The pixels by hand: those whose center (column + 0.5, row + 0.5) lies inside.
@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        ({"shape_type": "rectangle", "points": [[20, 30], [10, 10]]}, 200),
        ({"points": [[10, 10], [20, 10], [20, 20], [10, 20]]}, 100),  # before version 4, shapes had no type
        ({"shape_type": "polygon", "points": [[40, 30], [50.0, 30], [50.0, 40.0], [40, 40.0]]}, 100),
        ({"shape_type": "circle", "points": [[10, 10], [10, 12]]}, 12),  # radius 2 around a corner of four pixels
    ],
)
def test_every_shape_with_an_area_is_filled(source, shape, pixels):
    write_file(source / "images" / "a.json", [{"label": "MA", **shape}])
    assert taken_in(source)["a.png"].sum() == pixels


def test_shapes_that_overlap_are_united(source):
    moved = SQUARE | {"points": [[x + 5, y] for x, y in SQUARE["points"]]}
    write_file(source / "images" / "a.json", [SQUARE, moved])
    assert taken_in(source)["a.png"].sum() == 150


def test_a_file_without_shapes_declares_an_empty_micrograph(source):
    write_file(source / "images" / "a.json", [SQUARE])
    write_file(source / "images" / "b.json", [], imagePath="b.png")
    assert {name: mask.sum() for name, mask in taken_in(source).items()} == {"a.png": 100, "b.png": 0}


def test_the_information_bar_is_cut_off_also_if_the_annotated_image_had_none(source):
    low = SQUARE | {"points": [[10, 28], [20, 28], [20, 38], [10, 38]]}
    write_file(source / "images" / "a.json", [low])
    write_file(source / "images" / "b.json", [SQUARE], imagePath="b.png", imageHeight=32)
    masks = taken_in(source, crop_bottom=8)
    assert {name: mask.sum() for name, mask in masks.items()} == {"a.png": 40, "b.png": 100}


@pytest.mark.parametrize(
    ("shapes", "changes", "complaint"),
    [
        (
            [SQUARE | {"shape_type": "linestrip"}],
            {},
            r"a\.json, shapes\.0: has no polygon, only a box, line or mask",
        ),
        ([SQUARE | {"points": [[x / 50, y / 40] for x, y in SQUARE["points"]]}], {}, "fractions of the width and"),
        (
            [SQUARE],
            {"imageWidth": 60},
            "the annotated image has 60 x 40 pixels, its micrograph 50 x 40; give both",
        ),
        (
            [SQUARE],
            {"imageHeight": 36},
            "are cut off, set download.crop_bottom to 4 or more",
        ),
        ([SQUARE], {"imagePath": "b.png"}, r"the image in it means b\.png, the file's own name a\.png"),
        ([{"label": 3, "points": []}], {}, r"shapes\.0\.label: .*save it with LabelMe again"),
        ([SQUARE | {"points": [[1, 2, 3]]}], {}, r"shapes\.0\.points\.0: "),
        ([], {}, "images: holds no annotation"),
    ],
)
def test_what_cannot_be_used_is_named(source, shapes, changes, complaint):
    write_file(source / "images" / "a.json", shapes, **changes)
    with pytest.raises(InputError, match=complaint):
        taken_in(source)


def test_a_file_without_its_micrograph_and_two_for_one_are_refused(source):
    write_file(source / "annotations" / "c.json", [SQUARE], imagePath="c.png")
    with pytest.raises(InputError, match=r"c\.json: there is no micrograph c\.png; put it there or remove"):
        taken_in(source)
    write_file(source / "annotations" / "c.json", [SQUARE])
    write_file(source / "annotations" / "a.json", [SQUARE])
    with pytest.raises(InputError, match=r"c\.json: .*a\.json annotates a\.png too"):
        taken_in(source)


def test_files_of_a_microscope_beside_the_micrographs_are_no_annotations(source):
    write_file(source / "annotations" / "a.json", [SQUARE])
    (source / "images" / "a.json").write_text('{"voltage": 15}')
    assert taken_in(source).keys() == {"a.png"}


def test_real_files_give_the_areas_of_their_polygons(shared_data, tmp_path):
    real = shared_data / "labelme"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "images").symlink_to(real)
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match=r"bainite \(17 annotations, .*martensite \(23 annotations, "):
        write_folder(tmp_path / "raw", tmp_path / "mine", 0)
    write_folder(tmp_path / "raw", tmp_path / "mine", 0, ("martensite",))
    masks = {mask.img_name: mask for mask in read_annotations(tmp_path / "raw" / "annotations.csv")}
    assert len(masks) == 3
    for path in real.glob("*.json"):
        content = json.loads(path.read_text())
        (name,) = [name for name in masks if path.stem in name]
        expected = Image.new("1", (16000, 12000))
        # By another method: drawn ten times as large, which leaves errors at the outlines only.
        for shape in content["shapes"]:
            if shape["label"] == "martensite":
                ImageDraw.Draw(expected).polygon([(x * 10, y * 10) for x, y in shape["points"]], fill=1)
        drawn = create_binary_mask(masks[name], 1200, 1600)
        assert drawn.mean() == pytest.approx(np.asarray(expected).mean(), abs=5e-4)
