"""Masks that the user drew or corrected are measured as those of a network, in every form that tools write."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.measurement.run import run
from microseg.measurement.settings import Request, Settings
from microseg.micrographs.pixel_size import parse_pixel_size

HEIGHT, WIDTH = 20, 30


@pytest.fixture
def measure(tmp_path):
    """Return a function that measures masks of the micrographs heat42/a.png and b.png, 20 x 30 pixels of noise."""
    (tmp_path / "heat42").mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        grey = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
        Image.fromarray(grey).save(tmp_path / "heat42" / name)

    def measured(masks, **options):
        given = {name: options.pop(name) for name in ("crop_bottom", "valid_area") if name in options}
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        return run(Request(tmp_path / "heat42", "", out, Settings(**given), masks=masks, **options))

    return measured


def save(path, mask):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask).save(path)


def two_islands(rows=HEIGHT):
    """Return a mask of a square of 4 x 4 pixels inside, and one of 2 x 3 at the left side."""
    mask = np.zeros((rows, WIDTH), np.uint8)
    mask[5:9, 10:14], mask[12:14, :3] = 255, 255
    return mask


def test_a_mask_is_measured_by_hand(measure, tmp_path):
    save(tmp_path / "edited/a.png", two_islands())
    results = measure(tmp_path / "edited", pixel_size=parse_pixel_size("0.5um"))
    (row,) = results.fields.to_dict("records")
    assert (row["image"], row["islands"], row["area_um2"]) == ("a.png", 2, 150)
    assert row["area_fraction"] == 22 / 600
    # The island at the side counts a half: 1.5 islands in 150 square micrometres.
    assert row["number_per_mm2"] == pytest.approx(10_000)
    islands = pd.read_csv(results.request.output / "islands.csv")
    assert islands["area_um2"].tolist() == [4, 1.5]
    assert islands["touches_border"].tolist() == [False, True]
    assert islands["mean_probability"].isna().all()


def test_what_segment_wrote_gives_the_same_tables_again(request_for):
    segmented = run(request_for())
    for folder in ("masks", "labels"):
        masks = segmented.request.output / folder
        given = Request(segmented.request.folder, "", masks.parent.with_name(folder), masks=masks)
        measured = run(given).fields
        pd.testing.assert_frame_equal(measured, segmented.fields[list(measured)])
        tables = [pd.read_csv(one / "islands.csv") for one in (given.output, masks.parent)]
        assert list(tables[0]) == list(tables[1])
        pd.testing.assert_frame_equal(*(one.drop(columns="mean_probability") for one in tables))
        assert {path.name for path in given.output.iterdir()} == {path.name for path in masks.parent.iterdir()}


SQUARE, AT_SIDE = [[10, 5], [14, 5], [14, 9], [10, 9]], [[0, 12], [3, 12], [3, 14], [0, 14]]
LABELME = {
    "imagePath": "a.png",
    "imageHeight": HEIGHT,
    "imageWidth": WIDTH,
    "shapes": [{"label": "island", "points": one, "shape_type": "polygon"} for one in (SQUARE, AT_SIDE)],
}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
    "categories": [{"id": 1, "name": "island"}],
    "annotations": [
        {"image_id": 1, "category_id": 1, "segmentation": [np.ravel(one).tolist()]} for one in (SQUARE, AT_SIDE)
    ],
}


@pytest.mark.parametrize("form", ["labels", "LabelMe", "COCO", "COCO in a folder"])
def test_every_form_gives_the_same_mask(measure, tmp_path, form):
    edited = tmp_path / "edited"
    edited.mkdir()
    if form == "labels":
        labels = two_islands().astype(np.uint16)
        labels[labels > 0] = 7
        labels[:10][labels[:10] > 0] = 300
        Image.fromarray(labels).save(edited / "a.tif")
    else:
        content = LABELME if form == "LabelMe" else COCO
        (edited / "a.json").write_text(json.dumps(content))
    results = measure(edited / "a.json" if form == "COCO" else edited)
    written = np.asarray(Image.open(results.request.output / "masks/a.png"))
    assert (written == two_islands()).all()
    assert results.fields["image"].tolist() == ["a.png"]


@pytest.mark.parametrize("rows", [HEIGHT, HEIGHT - 4])
def test_masks_of_cropped_micrographs_come_in_both_sizes(measure, tmp_path, rows):
    save(tmp_path / "edited/a.png", two_islands(rows))
    (row,) = measure(tmp_path / "edited", crop_bottom=4).fields.to_dict("records")
    assert (row["height_px"], row["islands"], row["area_fraction"]) == (HEIGHT - 4, 2, 22 / 480)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("a.png", (HEIGHT, WIDTH + 1), r"edited/a.png: has 31 x 20 pixels, its micrograph 30 x 20; give both"),
        ("a.png", (HEIGHT - 4, WIDTH), "if its bottom rows are cut off, set --crop-bottom to 4 or more"),
        (
            "c.png",
            (HEIGHT, WIDTH),
            r"edited/c.png: no micrograph has this name; rename or remove .* --mask-suffix",
        ),
    ],
)
def test_masks_of_another_size_or_of_no_micrograph_are_refused(measure, tmp_path, name, size, message):
    save(tmp_path / "edited" / name, np.full(size, 255, np.uint8))
    with pytest.raises(InputError, match=message):
        measure(tmp_path / "edited")
    assert not list(tmp_path.glob("*out*"))


def test_outlines_of_a_picture_that_is_not_there_are_refused(measure, tmp_path):
    for content, message in (
        (
            LABELME | {"imagePath": "c.png"},
            r"c\.json: there is no micrograph c\.png; put it there or remove the file",
        ),
        (
            json.loads(json.dumps(COCO).replace("a.png", "c.png")),
            r"c\.json, annotations\.0: c\.png is annotated, but there is no such image; correct or delete it",
        ),
    ):
        (tmp_path / "c.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            measure(tmp_path / "c.json")
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        measure(tmp_path / "nowhere")


def test_values_of_several_classes_can_be_chosen(measure, tmp_path):
    classes = np.where(two_islands() > 0, 2, 1).astype(np.uint8)
    save(tmp_path / "edited/a_mask.png", classes)
    results = measure(tmp_path / "edited", foreground=("2",), mask_suffix="_mask")
    assert results.fields["area_fraction"].tolist() == [22 / 600]


def test_only_the_valid_area_of_a_mask_is_measured(measure, tmp_path):
    save(tmp_path / "edited/a.png", two_islands())
    valid = np.zeros((HEIGHT, WIDTH), np.uint8)
    valid[:, 12:] = 255  # half of the square, and not the island at the side
    save(tmp_path / "valid/a.png", valid)
    save(tmp_path / "valid/b.png", valid)
    (row,) = measure(tmp_path / "edited", valid_area=str(tmp_path / "valid")).fields.to_dict("records")
    assert (row["islands"], row["area_px2"], row["area_fraction"]) == (1, 360, 8 / 360)
