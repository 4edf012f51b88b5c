"""Masks drawn from polygons: the convention at the boundary, clipping, union, rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as MatplotlibPath
from PIL import Image, ImageDraw

from microseg.annotations.masks import create_binary_mask, reaches_outside
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask

HEIGHT, WIDTH = 40, 50


def mask_of(*outlines, height=HEIGHT, width=WIDTH):
    return create_binary_mask(
        ImageMask("a.png", [AnnotatedPolygon(outline[0], outline) for outline in outlines]), height, width
    )


def rectangle(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def test_outline_and_inside_belong_to_the_mask():
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:8, 10:21] = True
    mask = mask_of(rectangle(10, 3, 20, 7))
    assert mask.dtype == bool
    assert np.array_equal(mask, expected)


def test_a_triangle_drawn_by_hand():
    expected = ["....", "#...", "##..", "###."]
    mask = mask_of([(0, 1), (0, 3), (2, 3)], height=4, width=4)
    assert ["".join(".#"[int(value)] for value in row) for row in mask] == expected


def test_polygons_are_clipped_at_the_border():
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[:5, :6] = True
    assert np.array_equal(mask_of(rectangle(-2, -7, 5, 4)), expected)
    assert not mask_of(rectangle(WIDTH, 0, WIDTH + 5, 5)).any()
    assert mask_of(rectangle(-1_000_000, -1_000_000, 1_000_000, 1_000_000)).all()


@pytest.mark.parametrize(("given", "drawn"), [(9.4, 9), (9.5, 10), (10.4, 10), (-0.5, 0)])
def test_fractions_are_rounded_to_the_nearest_pixel(given, drawn):
    expected = mask_of(rectangle(drawn, drawn, drawn + 5, drawn + 5))
    assert np.array_equal(mask_of(rectangle(given, given, given + 5, given + 5)), expected)


def test_islands_are_united():
    first, second = rectangle(2, 2, 12, 12), rectangle(8, 8, 20, 20)
    assert np.array_equal(mask_of(first, second, first), mask_of(first) | mask_of(second))


def test_no_polygon_gives_an_empty_mask():
    assert not mask_of().any()


def test_degenerate_polygons_are_drawn_as_lines_and_points():
    assert mask_of([(3, 4)] * 3).sum() == 1
    assert mask_of([(3, 4), (9, 4), (3, 4)]).sum() == 7


def distance_to_outline(points, outline):
    distances = np.full(len(points), np.inf)
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        step = end - start
        length = max((step**2).sum(), 1e-12)
        along = np.clip((points - start) @ step / length, 0, 1)[:, None]
        distances = np.minimum(distances, np.hypot(*(points - start - along * step).T))
    return distances.reshape(HEIGHT, WIDTH)


def star(rng, vertices):
    angles = np.sort(rng.uniform(0, 2 * np.pi, vertices))
    radii = rng.uniform(2, 30, (vertices, 1))
    return rng.uniform(0, 50, 2) + radii * np.column_stack([np.cos(angles), np.sin(angles)])


def scribble(rng, vertices):
    """An outline that crosses itself as it likes, and reaches outside."""
    return rng.uniform(-10, 60, (vertices, 2))


@pytest.mark.parametrize("shape", [star, scribble])
@settings(max_examples=150, deadline=None)
@given(st.integers(3, 12), st.integers(0, 2**32 - 1))
def test_masks_agree_with_matplotlib_up_to_the_boundary(shape, vertices, seed):
    """A pixel that only one of the two takes is less than 1 away from the outline through whole pixels."""
    given_outline = shape(np.random.default_rng(seed), vertices)
    outline = np.floor(given_outline + 0.5)
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    centers = np.column_stack([x.ravel(), y.ravel()]).astype(float)
    path = MatplotlibPath(np.vstack([outline, outline[:1]]), closed=True)
    inside = path.contains_points(centers).reshape(HEIGHT, WIDTH)
    distance = distance_to_outline(centers, outline)
    mask = mask_of(given_outline.tolist())
    assert (distance[mask != inside] < 1).all()
    assert mask[distance < 1e-9].all()


def test_masks_are_what_pillow_draws():
    outline = [(3, 1), (40, 8), (25, 33), (17, 12), (2, 30)]
    image = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).polygon(outline, fill=1, outline=1)
    assert np.array_equal(mask_of(outline), np.asarray(image, dtype=bool))


@pytest.mark.parametrize(
    ("outline", "beyond"),
    [
        (rectangle(0, 0, WIDTH - 1, HEIGHT - 1), 0),
        (rectangle(-2, 0, 5, 5), 2),
        (rectangle(0, -0.5, 5, 5), 0.5),
        (rectangle(0, 0, WIDTH, 5), 1),
        (rectangle(0, 0, 5, HEIGHT + 2), 3),
    ],
)
def test_how_far_a_polygon_reaches_outside(outline, beyond):
    assert reaches_outside(AnnotatedPolygon((0, 0), outline), HEIGHT, WIDTH) == beyond
