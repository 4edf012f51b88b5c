"""Polygons written in any accepted form are read back unchanged."""

import json

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygonize import annotation_line, polygonize
from microseg.annotations.polygons import (
    AnnotatedPolygon,
    ImageMask,
    read_annotations,
    read_polygons,
    write_polygons,
)
from microseg.sources.coco import coco_lines
from microseg.sources.folder import table_lines
from microseg.sources.outlines import read_json
from microseg.sources.pairing import Micrographs

from dataset_forms import coco_content, read_lines, write_csv_form
from fuzzing import fuzz

SIZE = (20, 24)
coordinates = st.one_of(st.integers(-1000, 2000), st.floats(-1e6, 1e6, allow_nan=False))
polygons = st.builds(
    AnnotatedPolygon,
    st.tuples(coordinates, coordinates),
    st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=6),
)
image_names = st.from_regex(r"[A-Za-zäß0-9_. -]{0,8}[A-Za-z0-9]\.png", fullmatch=True).map(str.strip)
datasets = st.dictionaries(image_names, st.lists(polygons, min_size=1, max_size=2), min_size=1, max_size=2).map(
    lambda content: [ImageMask(name, list(islands)) for name, islands in content.items()]
)


@fuzz
@given(datasets, st.sampled_from([";", ",", "\t"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_polygons_survive_csv(tmp_path, masks, delimiter, line_end, marked):
    write_csv_form(tmp_path, masks, delimiter, line_end, "utf-8-sig" if marked else "utf-8")
    assert read_annotations(tmp_path / "annotations.csv") == masks
    lines = [line for line, _ in table_lines(tmp_path / "annotations.csv", {})]
    assert read_lines(tmp_path / "raw.csv", lines) == masks


@fuzz
@given(datasets)
def test_masks_survive_coco(tmp_path, masks):
    path = tmp_path / "annotations.json"
    content = coco_content(masks, SIZE)
    assume(content["annotations"])
    path.write_text(json.dumps(content), encoding="utf-8")
    names = [mask.img_name for mask in masks]
    micrographs = Micrographs(dict.fromkeys(names, SIZE), {}, dict.fromkeys(names, 0))
    lines = [line for line, _ in coco_lines(path, read_json(path), micrographs, None)]
    again = {mask.img_name: mask for mask in read_lines(tmp_path / "raw.csv", lines)}
    for mask in masks:
        expected = create_binary_mask(mask, *SIZE)
        assert np.array_equal(create_binary_mask(again.get(mask.img_name, ImageMask("")), *SIZE), expected)


@fuzz
@given(datasets)
def test_polygons_survive_the_file_between_the_stages(tmp_path, masks):
    write_polygons(tmp_path / "polygons.jsonl", masks)
    assert read_polygons(tmp_path / "polygons.jsonl") == masks


@fuzz
@given(st.lists(polygons, min_size=1, max_size=4), st.integers(1, 40), st.integers(1, 40))
def test_masks_survive_polygonizing(tmp_path, islands, height, width):
    mask = create_binary_mask(ImageMask("a.png", islands), height, width)
    lines = [annotation_line("a.png", nodes) for nodes in polygonize(mask)] or ["a.png;;"]
    (again,) = read_lines(tmp_path / "raw.csv", lines)
    assert np.array_equal(create_binary_mask(again, height, width), mask)
