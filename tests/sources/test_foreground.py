"""download.foreground chooses classes alike in label images, COCO and LabelMe; without it, classes are listed."""

import json

import numpy as np
import pytest
from PIL import Image

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import read_annotations
from microseg.common.errors import InputError
from microseg.sources.folder import write_folder

from dataset_forms import write_images

SIZE = (40, 50)
# Boxes x, y, width, height of a class on a micrograph. a.png has both classes, b.png only carbides. Of the 4000
# pixels, martensite has 100 (2.5 %) and carbide 40 + 60 (2.5 %).
BOXES = [
    ("a.png", "MA", (5, 5, 10, 10)),
    ("a.png", "carbide", (30, 20, 10, 4)),
    ("b.png", "carbide", (0, 0, 6, 10)),
]
VALUES = {"MA": 1, "carbide": 2}


def corners(box):
    x, y, width, height = box
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]


def write_coco(folder):
    names = sorted({name for name, _, _ in BOXES})
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": value, "name": name} for name, value in VALUES.items()],
        "annotations": [
            {
                "id": number,
                "image_id": names.index(image),
                "category_id": VALUES[label],
                "segmentation": [np.ravel(corners(box)).tolist()],
            }
            for number, (image, label, box) in enumerate(BOXES)
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(content))


def write_labelme(folder):
    for name in ("a.png", "b.png"):
        shapes = [{"label": label, "points": corners(box)} for image, label, box in BOXES if image == name]
        content = {"imagePath": name, "imageData": None, "shapes": shapes}
        (folder / "images" / name).with_suffix(".json").write_text(json.dumps(content))


def write_masks(folder):
    (folder / "masks").mkdir()
    for name in ("a.png", "b.png"):
        mask = np.zeros(SIZE, np.uint8)
        for image, label, (x, y, width, height) in BOXES:
            if image == name:
                mask[y : y + height, x : x + width] = VALUES[label]
        Image.fromarray(mask).save(folder / "masks" / name)


WRITERS = {"coco": write_coco, "labelme": write_labelme, "masks": write_masks}


@pytest.fixture
def source(tmp_path):
    write_images(tmp_path / "mine", ["a.png", "b.png"], SIZE)
    return tmp_path / "mine"


def areas(source, foreground):
    """Return the number of foreground pixels of each micrograph."""
    raw = source.parent / f"raw_{len(list(source.parent.iterdir()))}"
    raw.mkdir()
    write_folder(raw, source, 0, foreground)
    return {
        mask.img_name: int(create_binary_mask(mask, *SIZE).sum())
        for mask in read_annotations(raw / "annotations.csv")
    }


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    ("foreground", "pixels"),
    # b.png is annotated and has no martensite: it is a micrograph without an island, not one to leave out.
    [(("MA",), (100, 0)), (("carbide",), (40, 60)), (("MA", "carbide"), (140, 60))],
)
def test_the_chosen_classes_are_foreground(source, form, foreground, pixels):
    WRITERS[form](source)
    if form == "masks":
        foreground = tuple(str(VALUES[name]) for name in foreground)
    assert areas(source, foreground) == dict(zip(("a.png", "b.png"), pixels, strict=True))


def test_a_category_is_also_chosen_by_its_id(source):
    write_coco(source)
    assert areas(source, ("1",)) == {"a.png": 100, "b.png": 0}


@pytest.mark.parametrize("form", ["coco", "labelme"])
def test_several_classes_are_listed_with_their_numbers_and_areas(source, form):
    WRITERS[form](source)
    listed = r"MA \(1 annotation, 2\.5 % of the area\), carbide \(2 annotations, 2\.5 % of the area\)"
    with pytest.raises(InputError, match=rf"annotates 2 classes: {listed}; set download\.foreground to"):
        areas(source, None)
    with pytest.raises(InputError, match=rf"no annotation has the class ma of download\.foreground; .* {listed}"):
        areas(source, ("ma",))


def test_the_values_of_label_images_are_listed_with_their_numbers_and_areas(source):
    write_masks(source)
    listed = r"0 \(2 masks, 95\.0 % .*1 \(1 mask, 2\.5 % of the area\), 2 \(2 masks, 2\.5 % of the area\)"
    with pytest.raises(InputError, match=rf"masks/a\.png: holds 0, 1, 2, so .*{listed}; set download\.f"):
        areas(source, None)
    with pytest.raises(
        InputError, match=rf"masks: no mask has the class 3 of download\.foreground; there are {listed}"
    ):
        areas(source, ("3",))


def overwrite_mask(source, name, values):
    (source / "masks").mkdir(exist_ok=True)
    Image.fromarray(values).save(source / "masks" / name)


ISLAND = np.zeros(SIZE, np.uint8)
ISLAND[5:15, 5:15] = 1


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (ISLAND + np.uint8(1), "1, 2"),
        (np.uint8(255) - ISLAND, "254, 255"),
        (np.full(SIZE, 255, np.uint8), "255"),
    ],
)
def test_a_mask_without_background_is_ambiguous(source, values, held):
    overwrite_mask(source, "a.png", values)
    with pytest.raises(
        InputError, match=rf"a\.png: holds {held}, so the foreground is ambiguous.*download\.foreground"
    ):
        areas(source, None)


def test_masks_of_one_value_each_are_ambiguous_where_the_values_differ(source):
    overwrite_mask(source, "a.png", ISLAND)
    overwrite_mask(source, "b.png", ISLAND * np.uint8(2))
    with pytest.raises(InputError, match=r"masks: holds several values.* 1 \(1 mask, .* 2 \(1 mask, "):
        areas(source, None)
    assert areas(source, ("2",)) == {"a.png": 0, "b.png": 100}


def test_any_value_can_be_chosen(source):
    overwrite_mask(source, "a.png", np.uint8(255) - ISLAND)
    overwrite_mask(source, "b.png", np.full(SIZE, 254, np.uint8))
    assert areas(source, ("254",)) == {"a.png": 100, "b.png": 2000}
    overwrite_mask(source, "a.png", ISLAND)
    overwrite_mask(source, "b.png", ISLAND)
    assert areas(source, ("0",)) == {"a.png": 1900, "b.png": 1900}


def test_numbered_islands_are_foreground_together(source):
    numbered = np.zeros(SIZE, np.uint16)
    numbered[0:5, 0:5], numbered[10:15, 10:15], numbered[20:22, 0:50] = 1, 2, 700
    overwrite_mask(source, "a.png", numbered)
    with pytest.raises(InputError, match="or to nonzero if they number islands"):
        areas(source, None)
    assert areas(source, ("nonzero",)) == {"a.png": 150}


def test_an_inverting_look_up_table_is_read_as_stored_with_a_warning(source, caplog):
    image = Image.fromarray(ISLAND)
    image.putpalette([255, 255, 255, 0, 0, 0])
    (source / "masks").mkdir()
    image.save(source / "masks" / "a.png")
    assert areas(source, None) == {"a.png": 100}
    assert "a.png: viewers show 0 bright" in caplog.text
    assert "1 is foreground" in caplog.text


def test_a_table_has_no_classes(source):
    (source / "annotations.csv").write_text("image_url;point;polygon\na.png;;\n")
    with pytest.raises(InputError, match=r"annotations\.csv: a table has no classes; set download\.foreground"):
        areas(source, ("MA",))


@pytest.mark.parametrize("value", ["1", "2", "3"])
def test_each_phase_of_real_label_images_is_read(shared_data, tmp_path, value):
    folder = shared_data / "uhcs"
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "images").mkdir()
    (tmp_path / "mine" / "masks").mkdir()
    for name in ("uhcs0006.png", "uhcs0596.png"):  # the second one shows no network
        for part in ("images", "masks"):
            (tmp_path / "mine" / part / name).symlink_to(folder / part / name)
    write_folder(raw, tmp_path / "mine", 0, (value,))
    for mask in read_annotations(raw / "annotations.csv"):
        stored = np.asarray(Image.open(folder / "masks" / mask.img_name))
        assert np.array_equal(create_binary_mask(mask, *stored.shape), stored == int(value))
