"""Polygonized masks are drawn as exactly the same masks again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygonize import polygonize
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask


def redrawn(mask):
    polygons = [AnnotatedPolygon(nodes[0], nodes) for nodes in polygonize(mask)]
    return create_binary_mask(ImageMask("a.png", polygons), *mask.shape)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.booleans()))
def test_any_mask_is_redrawn_from_its_polygons(mask):
    assert np.array_equal(redrawn(mask), mask)


@pytest.mark.parametrize("seed", range(5))
def test_large_noisy_masks_are_redrawn(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((120, 90)) < rng.uniform(0.2, 0.95)
    assert np.array_equal(redrawn(mask), mask)


def test_a_plain_region_is_one_polygon():
    y, x = np.mgrid[:60, :60]
    disc = (x - 30) ** 2 + (y - 25) ** 2 <= 20**2
    assert len(list(polygonize(disc))) == 1
    assert np.array_equal(redrawn(disc), disc)


def test_a_rectangle_has_its_four_corners():
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:8] = True
    (nodes,) = polygonize(mask)
    assert sorted(map(tuple, nodes.tolist())) == [(3, 2), (3, 4), (7, 2), (7, 4)]


def test_a_region_with_a_hole_is_cut_in_two():
    mask = np.ones((20, 20), bool)
    mask[6:14, 6:14] = False
    assert len(list(polygonize(mask))) == 2
    assert np.array_equal(redrawn(mask), mask)


def test_an_empty_mask_has_no_polygon():
    assert list(polygonize(np.zeros((5, 5), bool))) == []
