"""Figures draw about as many pixels as they have; nothing thin is lost, and coordinates stay as they were."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from microseg.evaluation.figures import Example, graph_iou, plot_examples
from microseg.plotting import show_picture, shrink

MAGENTA = (255, 0, 255)


def test_grey_values_are_averaged_also_at_the_border_by_hand():
    picture = np.array([[0, 10, 100], [20, 30, 200], [1, 3, 7]], np.uint8)
    assert shrink(picture, 2).tolist() == [[15, 150], [2, 7]]
    assert shrink(picture, 3).tolist() == [[41]]  # 371 / 9
    assert shrink(picture, 1) is picture


def test_any_foreground_makes_a_square_foreground():
    mask = np.zeros((5, 7), bool)
    mask[0, 3] = mask[4, 6] = True
    assert shrink(mask, 3).tolist() == [[False, True, False], [False, False, True]]


def test_errors_keep_their_colour_by_hand():
    truth, prediction = np.zeros((2, 4, 6), bool)
    truth[0, 0] = True  # missed: alone in its square
    truth[2:, 2:4] = prediction[2:, 3:4] = True  # half found, half missed
    colours = shrink(graph_iou(truth, prediction), 2)
    assert colours[0, 0].tolist() == list(MAGENTA)
    assert colours[1, 1].tolist() == [255, 128, 255]
    assert colours[:, 2].max() == 0


@pytest.mark.parametrize("factor", [2, 3, 7, 50])
def test_large_pictures_agree_with_a_loop(factor):
    picture = np.random.default_rng(0).integers(0, 256, (41, 30, 3), dtype=np.uint8)
    for row, column in np.ndindex(*shrink(picture, factor).shape[:2]):
        square = picture[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor].reshape(-1, 3)
        coloured = square[square.any(axis=1)]
        expected = np.rint(coloured.mean(axis=0))
        assert shrink(picture, factor)[row, column].tolist() == expected.tolist()


def test_coordinates_are_those_of_the_micrograph():
    axes = Figure(figsize=(4, 4)).subplots()
    show_picture(axes, np.zeros((1300, 1010), np.uint8), left=100, top=50)
    assert (axes.get_xlim(), axes.get_ylim()) == ((99.5, 1109.5), (1349.5, 49.5))
    (image,) = axes.images
    assert image.get_array().shape == (434, 337)
    # 434 rows of 3 pixels each: the last one is only partly there, and not stretched.
    assert image.get_extent() == [99.5, 1110.5, 1351.5, 49.5]


@pytest.mark.parametrize("side", [700, 1000, 2000])
def test_a_line_of_one_pixel_is_seen_in_every_panel(side):
    truth = np.zeros((side, side), bool)
    truth[side // 3] = True
    micrograph = np.where(truth, 255, 0).astype(np.uint8)
    figure = plot_examples([Example("a", micrograph, truth, {"sigmoid": ~truth & False})], "sigmoid", "title")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    for axes in (figure.axes[1], figure.axes[3]):
        box = axes.bbox
        inside = picture[-int(box.y1) : -int(box.y0) - 1, int(box.x0) + 3 : int(box.x1) - 3]
        assert inside.max() > 100
        assert axes.images[0].get_array().shape[0] < 600


def test_a_small_picture_is_drawn_as_it_is():
    axes = Figure(figsize=(4, 4)).subplots()
    picture = np.arange(200, dtype=np.uint8).reshape(10, 20)
    show_picture(axes, picture)
    assert np.array_equal(axes.images[0].get_array(), picture)
