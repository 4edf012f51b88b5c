"""Annotations as CSV, as COCO and as mask images give the same masks, or a clear refusal."""

import json

import numpy as np
import pytest
from PIL import Image

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, read_annotations
from microseg.common.errors import InputError
from microseg.sources.folder import write_folder

from dataset_forms import coco_content, write_coco_form, write_csv_form, write_images, write_mask_form

SIZE = (40, 50)
MASKS = [
    ImageMask("a.png", [AnnotatedPolygon((9, 9), [(5, 5), (20, 7), (12, 30)])]),
    ImageMask(
        "b.png",
        [
            AnnotatedPolygon((2, 2), [(0, 0), (9, 0.5), (3, 9)]),
            AnnotatedPolygon((45, 35), [(40, 30), (49, 30), (49, 39), (40, 39)]),
        ],
    ),
]


@pytest.fixture
def source(tmp_path):
    write_images(tmp_path / "mine", ["a.png", "b.png"], SIZE)
    return tmp_path / "mine"


def taken_in(source, crop_bottom=0):
    raw = source.parent / f"raw_{source.name}"
    raw.mkdir()
    write_folder(raw, source, crop_bottom)
    return read_annotations(raw / "annotations.csv")


def drawn(masks, size=SIZE):
    return {mask.img_name: create_binary_mask(mask, *size) for mask in masks}


def assert_same(masks, others, size=SIZE):
    first, second = drawn(masks, size), drawn(others, size)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize(("line_end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig")])
def test_csv_of_every_dialect(source, delimiter, line_end, encoding):
    write_csv_form(source, MASKS, delimiter, line_end, encoding)
    assert taken_in(source) == MASKS


def test_coco_gives_the_masks_with_a_point_inside_each(source):
    write_coco_form(source, MASKS, SIZE)
    read = taken_in(source)
    assert_same(read, MASKS)
    for mask in read:
        for polygon in mask:
            x, y = polygon.center
            assert create_binary_mask(ImageMask("", [polygon]), *SIZE)[round(y), round(x)]


def test_masks_give_the_masks(source):
    write_mask_form(source, MASKS, SIZE)
    assert_same(taken_in(source), MASKS)


def test_masks_of_real_micrographs_are_kept(shared_data, source):
    masks = read_annotations(shared_data / "superalloy" / "annotations.csv")
    folder = source.parent / "real"
    folder.mkdir()
    (folder / "images").symlink_to(shared_data / "superalloy" / "images")
    write_mask_form(folder, masks, (512, 512))
    assert_same(taken_in(folder), masks, (512, 512))


def test_one_annotation_of_two_polygons_becomes_two_islands(source):
    content = coco_content(MASKS, SIZE)
    joined = {
        **content["annotations"][1],
        "segmentation": [one["segmentation"][0] for one in content["annotations"][1:]],
    }
    content["annotations"][1:] = [joined]
    (source / "annotations.json").write_text(json.dumps(content))
    assert [len(mask) for mask in taken_in(source)] == [1, 2]


def test_a_coco_image_without_annotation_is_not_an_empty_one(source):
    write_coco_form(source, [MASKS[0], ImageMask("b.png")], SIZE)
    assert [mask.img_name for mask in taken_in(source)] == ["a.png"]


def test_an_empty_mask_is_an_empty_image_and_a_missing_mask_is_not(source):
    write_images(source.parent / "more", ["c.png"], SIZE)
    (source.parent / "more" / "images" / "c.png").rename(source / "images" / "c.png")
    write_mask_form(source, [MASKS[0], ImageMask("b.png")], SIZE)
    assert [(mask.img_name, len(mask)) for mask in taken_in(source)] == [("a.png", 1), ("b.png", 0)]


@pytest.mark.parametrize("rows", [40, 34, 32])
def test_masks_may_lack_rows_that_are_cut_off_and_have_a_suffix(source, rows):
    (source / "masks").mkdir()
    for name, mask in drawn(MASKS).items():
        Image.fromarray(mask[:rows]).save(source / "masks" / name.replace(".", "_label."))
    raw = source.parent / "raw"
    raw.mkdir()
    with pytest.raises(
        InputError, match=r"a_label\.png: no micrograph has this name; .* set download\.mask_suffix"
    ):
        write_folder(raw, source, 8)
    write_folder(raw, source, 8, mask_suffix="_label")
    read = drawn(read_annotations(raw / "annotations.csv"), (32, 50))
    assert all(np.array_equal(read[name], mask[:32]) for name, mask in drawn(MASKS).items())


def test_the_published_form_of_a_dataset_is_read(shared_data, tmp_path):
    folder, raw = shared_data / "as_published", tmp_path / "raw"
    raw.mkdir()
    with pytest.raises(
        InputError, match=r"1024 x 703 pixels, its micrograph 1024 x 768; .* download\.crop_bottom to 65"
    ):
        write_folder(raw, folder, 0, ("2",), "_label")
    write_folder(raw, folder, 66, ("2",), "_label")
    for mask in read_annotations(raw / "annotations.csv"):
        stored = np.asarray(Image.open(folder / "masks" / mask.img_name.replace(".", "_label.")))
        stored = stored.reshape(*stored.shape[:2], -1)[..., 0]
        height = {1024: 702, 1280: 894}[stored.shape[1]]
        assert np.array_equal(create_binary_mask(mask, height, stored.shape[1]), stored[:height] == 2)


def test_the_coco_file_in_a_folder_of_annotations_is_read(source):
    write_coco_form(source, MASKS, SIZE)
    (source / "annotations").mkdir()
    (source / "annotations.json").rename(source / "annotations" / "instances_default.json")  # as CVAT exports it
    assert_same(taken_in(source), MASKS)


def test_the_own_json_of_label_studio_is_refused_by_what_it_is(source):
    (source / "annotations.json").write_text('[{"id": 1, "data": {"image": "a.png"}, "annotations": []}]')
    with pytest.raises(InputError, match=r"annotations\.json: Label Studio's own JSON perhaps .*; export"):
        taken_in(source)


def test_masks_are_cut_like_their_micrographs(source):
    write_mask_form(source, MASKS, SIZE)
    expected = {name: mask[:32] for name, mask in drawn(MASKS).items()}
    read = drawn(taken_in(source, crop_bottom=8), (32, 50))
    assert all(np.array_equal(read[name], expected[name]) for name in expected)


def change_coco(source, change):
    content = coco_content(MASKS, SIZE)
    change(content)
    (source / "annotations.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c["annotations"][0].update(segmentation=[]), r"annotations\.0: has no polygon"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), "3 numbers is not a list of pairs"),
        (lambda c: c["annotations"][0].update(segmentation=[["1", "2"] * 3]), "should be a valid number"),
        (lambda c: c["annotations"][0].update(image_id=77), "image_id 77 is not among the images"),
        (lambda c: c["annotations"][0].update(category_id=2), r"annotates 2 classes: 2 \(1 ann.*, island \(2"),
        (lambda c: c["annotations"][0].pop("segmentation"), r"annotations\.0\.segmentation: Field required"),
        (lambda c: c["images"][0].update(height=39), "a.png has 50 x 39 pixels, its micrograph 50 x 40"),
        (lambda c: c["images"][1].update(file_name="elsewhere/a.png"), "a.png .* is listed twice"),
        (lambda c: c["images"][1].update(file_name="b;.png"), "is not the name of an image file"),
        (lambda c: c.pop("images"), "images: Field required"),
        (lambda c: c.update(annotations=[]), "holds no annotation"),
    ],
)
def test_unusable_coco_is_refused(source, change, complaint):
    change_coco(source, change)
    with pytest.raises(InputError, match=complaint) as refusal:
        taken_in(source)
    assert str(source / "annotations.json") in str(refusal.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"images": 1}', "[" * 100_000])
def test_files_that_are_not_coco_are_refused(source, text):
    (source / "annotations.json").write_text(text)
    with pytest.raises(InputError, match=r"annotations\.json: "):
        taken_in(source)


@pytest.mark.parametrize(
    "segmentation", [[1, 2, 3, 4], [float("nan"), 2, 3, 4, 5, 6], [float("inf"), 2, 3, 4, 5, 6]]
)
def test_an_unusable_coco_polygon_is_left_to_parse_csv(source, segmentation):
    change_coco(source, lambda content: content["annotations"][0].update(segmentation=[segmentation]))
    with pytest.raises(InputError, match="line 2: "):
        taken_in(source)


def test_unusable_masks_are_refused(source):
    write_mask_form(source, MASKS, SIZE)
    path = source / "masks" / "a.png"
    good = path.read_bytes()
    for pixels, complaint in (
        (np.arange(2000, dtype=np.uint8).reshape(SIZE) % 3, "holds 0, 1, 2, so"),
        (np.zeros((40, 49), np.uint8), "has 49 x 40 pixels, its micrograph 50 x 40"),
    ):
        Image.fromarray(pixels).save(path)
        with pytest.raises(InputError, match=rf"masks/a\.png: {complaint}"):
            write_folder_again(source)
    path.write_bytes(good)
    for name, complaint in (
        ("c.png", "no micrograph has this name"),
        ("a.tif", "a mask of the same"),
        ("a.jpg", "has to be"),
    ):
        (source / "masks" / name).write_bytes(good)
        with pytest.raises(InputError, match=complaint):
            write_folder_again(source)
        (source / "masks" / name).unlink()


def write_folder_again(source):
    raw = source.parent / "again"
    (raw / "images").mkdir(parents=True, exist_ok=True)
    for path in (raw / "images").iterdir():
        path.unlink()
    (raw / "images").rmdir()
    write_folder(raw, source, 0)


def test_an_empty_folder_of_masks_is_refused(source):
    (source / "masks").mkdir()
    with pytest.raises(InputError, match="masks: holds no mask"):
        taken_in(source)


def test_two_forms_at_once_are_refused(source):
    write_coco_form(source, MASKS, SIZE)
    write_csv_form(source, MASKS)
    with pytest.raises(InputError, match=r"found annotations\.csv and annotations\.json"):
        taken_in(source)
