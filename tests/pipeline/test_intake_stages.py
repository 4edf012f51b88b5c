"""The first three stages one after the other on a folder of one's own: what they leave, and what they refuse."""

import contextlib
import csv
import json
import runpy
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask
from microseg.micrographs.images import read_mask, write_micrograph
from microseg.splits import read_split

from dataset_forms import write_coco_form, write_csv_form, write_images
from pipeline_files import ROOT
from project_copy import set_params

SIZE = (40, 50)
MASKS = [
    ImageMask("a.png", [AnnotatedPolygon((9, 9), [(5, 5), (20, 7), (12, 30)])]),
    ImageMask("b.png", [AnnotatedPolygon((45, 35), [(40, 30), (49, 30), (49, 39), (40, 39)])]),
]
OUTSIDE_THE_IMAGE = {"image_id": 0, "category_id": 1, "segmentation": [[60, 0, 70, 0, 70, 9, 60, 9]]}
COMMANDS = {
    "download": "--folder mine --output raw",
    "parse_csv": "--raw raw --polygons polygons.jsonl --metrics annotations.json --findings issues.csv --plots p",
    "rasterize_masks": "--images raw/images --polygons polygons.jsonl --masks masks --metrics masks.json "
    "--findings overlaps.csv --plots q",
    "split": "--polygons polygons.jsonl --raw raw --split split.csv --metrics split.json "
    "--findings split_issues.csv",
}
INTAKE = ("download", "parse_csv", "rasterize_masks")


@pytest.fixture
def workplace(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, {"download.source": "folder"})
    write_images(tmp_path / "mine", ["a.png", "b.png"], SIZE)
    write_csv_form(tmp_path / "mine", MASKS)
    return tmp_path


def run_stages(folder, *stages):
    """Run stages in `folder` until one fails; return that one's error, None where all succeed."""
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "stages")
        for stage in stages or INTAKE:
            script = str(ROOT / "stages" / f"{stage}.py")
            patch.setattr(sys, "argv", [script, *COMMANDS[stage].split()])
            try:
                runpy.run_path(script, run_name="__main__")
            except SystemExit as end:
                return f"{stage}: {end.code}"
    return None


def append(folder, *lines):
    with (folder / "mine" / "annotations.csv").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def read_issues(path):
    with path.open(newline="") as file:
        return [(row["finding"], row["image"], row["line"]) for row in csv.DictReader(file)]


def test_from_a_folder_to_masks(workplace):
    append(
        workplace,
        "a.png;(45, 35);[(40, 30), (60, 30), (60, 39), (40, 39)]",
        "a.png;(45, 35);[(48, 30), (49, 30), (49, 33)]",
    )
    assert run_stages(workplace) is None
    first = ImageMask("a.png", [MASKS[0][0], AnnotatedPolygon((45, 35), [(40, 30), (60, 30), (60, 39), (40, 39)])])
    assert np.array_equal(read_mask(workplace / "masks" / "a.png"), create_binary_mask(first, *SIZE))
    assert np.array_equal(read_mask(workplace / "masks" / "b.png"), create_binary_mask(MASKS[1], *SIZE))
    metrics = json.loads((workplace / "masks.json").read_text())
    assert (metrics["masks"], metrics["clipped_polygons"], metrics["overlapping_pairs"]) == (2, 1, 1)
    assert metrics["image_sizes"] == {"50 x 40": 2}
    assert ("out_of_bounds", "a.png", "4") in read_issues(workplace / "issues.csv")
    assert read_issues(workplace / "overlaps.csv") == [("overlap", "a.png", "5")]
    with (workplace / "masks_tables" / "foreground_fraction.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["foreground_fraction"]) for row in rows] == [
        read_mask(workplace / "masks" / row["image"]).mean() for row in rows
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("b.png;(1, 1)", "annotations.csv, line 4: 2 fields instead of 3"),
        ("b.png;(1, 1);[(0, 0), (4, NaN), (0, 4)]", "annotations.csv, line 4: the polygon"),
        (
            "c.png;(1, 1);[(0, 0), (4, 0), (0, 4)]",
            "annotations.csv, line 4: c.png is annotated, but there is no such",
        ),
        ("b.png;(1, 90);[(0, 90), (4, 90), (0, 94)]", "annotations.csv, line 4: the polygon lies outside b.png"),
    ],
)
def test_an_unusable_annotation_is_refused_or_skipped_and_listed(workplace, line, complaint):
    append(workplace, line)
    assert f"parse_csv: error: mine/{complaint}" in run_stages(workplace)
    assert not (workplace / "polygons.jsonl").exists()
    set_params(workplace, {"parse_csv.on_invalid": "skip"})
    assert run_stages(workplace, "parse_csv", "rasterize_masks") is None
    metrics = json.loads((workplace / "annotations.json").read_text())
    assert (metrics["images"], metrics["polygons"], metrics["skipped"]) == (2, 2, 1)
    assert [(image, place) for _, image, place in read_issues(workplace / "issues.csv")] == [(line[:5], "4")]


def test_a_converted_annotation_is_named_where_the_user_has_it(workplace):
    (workplace / "mine" / "annotations.csv").unlink()
    write_coco_form(workplace / "mine", [MASKS[0], ImageMask("b.png", [MASKS[1][0]] * 2)], SIZE)
    file = workplace / "mine" / "annotations.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "annotations": [*content["annotations"], OUTSIDE_THE_IMAGE]}))
    complaint = run_stages(workplace)
    assert complaint.startswith("parse_csv: error: mine/annotations.json, annotations.3: the polygon lies outside")
    set_params(workplace, {"parse_csv.on_invalid": "skip"})
    assert run_stages(workplace, "parse_csv", "rasterize_masks") is None
    for table in ("issues.csv", "overlaps.csv"):
        rows = list(csv.DictReader((workplace / table).open(newline="")))
        (repeated,) = [row for row in rows if row["finding"] in ("repeated_polygon", "overlap")]
        assert repeated["source"] == "mine/annotations.json, annotations.2"
        assert repeated["detail"].endswith(" mine/annotations.json, annotations.1")


def test_metadata_is_named_where_the_user_has_it(workplace):
    lines = "image_url;type\n\na.png;01\n\nb.png;02\na.png;03\n"
    (workplace / "mine" / "metadata.csv").write_text(lines)
    assert run_stages(workplace).startswith("parse_csv: error: mine/metadata.csv, line 6: a.png has an earlier")


def test_the_information_bar_takes_polygons_along(workplace):
    set_params(workplace, {"download.crop_bottom": 8})
    append(workplace, "a.png;(10, 36);[(5, 33), (15, 33), (10, 39)]")
    complaint = run_stages(workplace)
    assert "line 4: the polygon lies outside a.png, which has 50 x 32 pixels" in complaint
    assert "lower download.crop_bottom" in complaint
    set_params(workplace, {"parse_csv.on_invalid": "skip"})
    assert run_stages(workplace, "parse_csv", "rasterize_masks") is None
    assert np.array_equal(read_mask(workplace / "masks" / "b.png"), create_binary_mask(MASKS[1], 32, 50))
    assert ("out_of_bounds", "b.png", "3") in read_issues(workplace / "issues.csv")


def test_a_damaged_image_and_an_empty_table(workplace):
    image = workplace / "mine" / "images" / "b.png"
    content = image.read_bytes()
    image.write_bytes(content[:-30])
    assert "download: error: mine/images/b.png: cannot be decoded" in run_stages(workplace)
    assert not (workplace / "raw").exists()
    image.write_bytes(content)
    (workplace / "mine" / "annotations.csv").write_text("")
    assert "download: error: mine/annotations.csv: the table is empty" in run_stages(workplace)


def test_micrographs_of_different_sizes(workplace):
    write_images(workplace / "other", ["c.png"], (25, 30))
    shutil.move(workplace / "other" / "images" / "c.png", workplace / "mine" / "images" / "c.png")
    append(workplace, "c.png;(5, 5);[(0, 0), (29, 0), (29, 24), (0, 24)]")
    assert run_stages(workplace) is None
    assert read_mask(workplace / "masks" / "c.png").shape == (25, 30)
    assert read_mask(workplace / "masks" / "c.png").all()


def test_a_picture_under_two_names_is_listed_and_stays_on_one_side(workplace):
    names = [f"{number}.png" for number in range(12)]
    shutil.rmtree(workplace / "mine")
    write_images(workplace / "mine", names, SIZE)
    write_csv_form(workplace / "mine", [ImageMask(name, MASKS[0].polygons) for name in names])
    # The same pixels in a file of other bytes.
    Image.open(workplace / "mine/images/3.png").save(workplace / "mine/images/8.png", compress_level=9)
    assert run_stages(workplace, *INTAKE) is None
    for seed in range(3):
        set_params(workplace, {"seed": seed, "split.test_size": 4})
        assert run_stages(workplace, "split") is None
        split_of = {row.image: row for row in read_split(workplace / "split.csv")}
        assert split_of["3.png"].split == split_of["8.png"].split
        assert {name: row.group for name, row in split_of.items() if row.group} == dict.fromkeys(
            ("3.png", "8.png"), "3.png + 8.png"
        )
        assert read_issues(workplace / "split_issues.csv") == [("repeated_image", "8.png", "")]
        assert json.loads((workplace / "split.json").read_text())["issues"]["repeated_image"] == 1


def test_micrographs_that_overlap_across_the_split_are_refused_or_listed(workplace):
    names = [f"{number}.png" for number in range(6)]
    shutil.rmtree(workplace / "mine")
    (workplace / "mine/images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (96, 128), np.uint8) for _ in range(5)]
    for name, picture in zip(names, [*pictures, np.rot90(pictures[0]).copy()], strict=True):
        write_micrograph(workplace / "mine/images" / name, picture)
    write_csv_form(workplace / "mine", [ImageMask(name, MASKS[0].polygons) for name in names])
    parts = ("train", "train", "train", "train", "val", "test")
    rows = [f"{name},{part},{number % 5}" for number, (name, part) in enumerate(zip(names, parts, strict=True))]
    (workplace / "mine/metadata.csv").write_text("\n".join(["image_url,part,specimen", *rows]))
    set_params(workplace, {"split.from_column": "part"})
    complaint = run_stages(workplace, *INTAKE, "split")
    assert complaint.startswith("split: error: 0.png and 5.png show the same place")
    assert not (workplace / "split.csv").exists()
    set_params(workplace, {"split.allow_overlap": True})
    assert run_stages(workplace, "split") is None
    assert read_issues(workplace / "split_issues.csv") == [("overlapping_image", "5.png", "")]
    folds = {"split.allow_overlap": False, "split.from_column": None, "split.folds": 3, "split.test_size": 0}
    set_params(workplace, folds)
    assert "0.png and 5.png show the same place" in run_stages(workplace, "split")
    set_params(workplace, {"split.group_by": ["specimen"]})
    assert run_stages(workplace, "split") is None
