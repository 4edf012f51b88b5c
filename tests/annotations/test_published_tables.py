"""The published tables, read and drawn, compared with known facts about them."""

import numpy as np
import pytest

from microseg.annotations.issues import count
from microseg.annotations.masks import create_binary_mask, find_overlaps, reaches_outside
from microseg.annotations.polygons import most_annotated, read_annotations
from microseg.annotations.quality import KINDS, check_annotations, group_sizes
from microseg.micrographs.metadata import read_metadata

HEIGHT, WIDTH = 768, 1024
MOST_ANNOTATED = {
    "IMG_01732": 22,
    "IMG_01604": 21,
    "IMG_00737": 21,
    "IMG_01700": 19,
    "IMG_01887": 19,
    "IMG_00536": 19,
    "IMG_01729": 18,
    "IMG_00544": 18,
    "IMG_00738": 18,
    "IMG_01097": 17,
    "IMG_01724": 16,
    "IMG_01603": 16,
    "IMG_01619": 16,
    "IMG_01633": 16,
    "IMG_01742": 16,
}


POLYGONS = "aachen_heerlen/nature_scidata_heerlen_aachen_steel_annotations_polygon.csv"
METADATA = "aachen_heerlen/nature_scidata_steel_metadata.csv"


@pytest.fixture(scope="module")
def masks(shared_data):
    return read_annotations(shared_data / POLYGONS)


@pytest.fixture(scope="module")
def metadata(shared_data):
    return read_metadata(shared_data / METADATA)


def test_numbers_of_images_polygons_and_vertices(masks):
    assert len(masks) == 1705
    assert sum(len(mask) for mask in masks) == 8909
    vertices = [len(polygon) for mask in masks for polygon in mask]
    assert (min(vertices), np.median(vertices), max(vertices)) == (4, 28, 221)


def test_the_most_annotated_micrographs(masks):
    assert most_annotated(masks, 15) == [(f"{name}.png", number) for name, number in MOST_ANNOTATED.items()]


def test_issues(masks, metadata):
    checked = check_annotations(masks, [], dict.fromkeys(metadata, (HEIGHT, WIDTH)), metadata)
    found = count(checked.issues, KINDS)
    assert {kind: number for kind, number in found.items() if number} == {
        "image_without_polygon": 2580 - 1705,
        "repeated_polygon": 1,
        "out_of_bounds": 97,
        "closed_outline": 44,
        "fractional_coordinates": 31,
    }
    out_of_bounds = [polygon for mask in masks for polygon in mask if reaches_outside(polygon, HEIGHT, WIDTH)]
    vertices = np.concatenate([polygon.nodes for polygon in out_of_bounds])
    assert vertices[:, 0].min() == -2
    assert vertices[:, 1].max() == 768


def test_rows_written_with_a_decimal_point(shared_data):
    """Four of the 35 have only whole numbers, such as 512.0: 31 have fractions."""
    text = (shared_data / POLYGONS).read_text(encoding="utf-8")
    assert sum("." in line.split(";")[2] for line in text.splitlines()[1:]) == 35


def test_groups(masks, metadata):
    groups = group_sizes([mask.img_name for mask in masks], metadata)
    sizes = [number for _, number in groups["type, temperature"]]
    assert (len(sizes), min(sizes), max(sizes), sum(sizes)) == (14, 3, 247, 1705)


def test_overlaps(masks):
    overlaps = [overlap for mask in masks for overlap in find_overlaps(mask, HEIGHT, WIDTH)]
    assert len(overlaps) == 937
    assert len({overlap.image for overlap in overlaps}) == 531


def test_foreground_fractions(masks):
    fractions = [create_binary_mask(mask, HEIGHT, WIDTH).mean() for mask in masks]
    assert f"{min(fractions):.4g}" == "0.0008583"
    assert f"{max(fractions):.4g}" == "0.3644"
    assert f"{np.mean(fractions):.4g}" == "0.06958"
