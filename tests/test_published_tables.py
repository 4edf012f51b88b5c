"""The published tables, read and drawn, against what is known of them."""

import numpy as np
import pytest

from microseg.annotations import most_annotated, read_annotations
from microseg.masks import create_binary_mask, reaches_outside

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


@pytest.fixture(scope="module")
def masks(shared_data):
    return read_annotations(
        shared_data / "aachen_heerlen" / "nature_scidata_heerlen_aachen_steel_annotations_polygon.csv"
    )


def test_how_many_there_are(masks):
    assert len(masks) == 1705
    assert sum(len(mask) for mask in masks) == 8909
    vertices = [len(polygon) for mask in masks for polygon in mask]
    assert (min(vertices), np.median(vertices), max(vertices)) == (4, 28, 221)


def test_the_most_annotated_micrographs(masks):
    assert most_annotated(masks, 15) == [(f"{name}.png", number) for name, number in MOST_ANNOTATED.items()]


def test_what_is_odd_about_them(masks):
    polygons = [polygon for mask in masks for polygon in mask]
    assert sum(reaches_outside(polygon, HEIGHT, WIDTH) > 0 for polygon in polygons) == 97
    assert sum(polygon[0] == polygon[-1] for polygon in polygons) == 44


def test_foreground_fractions(masks):
    fractions = [create_binary_mask(mask, HEIGHT, WIDTH).mean() for mask in masks]
    assert f"{min(fractions):.4g}" == "0.0008583"
    assert f"{max(fractions):.4g}" == "0.3644"
    assert f"{np.mean(fractions):.4g}" == "0.06958"
