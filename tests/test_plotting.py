"""Images are downsampled to the pixels of their figure; thin structures and coordinates are kept."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from microseg.evaluation.figures import Example, graph_iou, plot_examples
from microseg.plotting import downsample, plain, show_image

MAGENTA = (255, 0, 255)


def test_grey_values_are_averaged_also_at_the_border_by_hand():
    image = np.array([[0, 10, 100], [20, 30, 200], [1, 3, 7]], np.uint8)
    assert downsample(image, 2).tolist() == [[15, 150], [2, 7]]
    assert downsample(image, 3).tolist() == [[41]]  # 371 / 9
    assert downsample(image, 1) is image


def test_any_foreground_makes_a_block_foreground():
    mask = np.zeros((5, 7), bool)
    mask[0, 3] = mask[4, 6] = True
    assert downsample(mask, 3).tolist() == [[False, True, False], [False, False, True]]


def test_errors_keep_their_color_by_hand():
    truth, prediction = np.zeros((2, 4, 6), bool)
    truth[0, 0] = True  # missed: alone in its block
    truth[2:, 2:4] = prediction[2:, 3:4] = True  # half found, half missed
    colors = downsample(graph_iou(truth, prediction), 2)
    assert colors[0, 0].tolist() == list(MAGENTA)
    assert colors[1, 1].tolist() == [255, 128, 255]
    assert colors[:, 2].max() == 0


@pytest.mark.parametrize("factor", [2, 3, 7, 50])
def test_large_images_agree_with_a_loop(factor):
    image = np.random.default_rng(0).integers(0, 256, (41, 30, 3), dtype=np.uint8)
    for row, column in np.ndindex(*downsample(image, factor).shape[:2]):
        block = image[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor].reshape(-1, 3)
        colored = block[block.any(axis=1)]
        expected = np.rint(colored.mean(axis=0))
        assert downsample(image, factor)[row, column].tolist() == expected.tolist()


def test_coordinates_are_those_of_the_micrograph():
    axes = Figure(figsize=(4, 4)).subplots()
    show_image(axes, np.zeros((1300, 1010), np.uint8), left=100, top=50)
    assert (axes.get_xlim(), axes.get_ylim()) == ((99.5, 1109.5), (1349.5, 49.5))
    (shown,) = axes.images
    assert shown.get_array().shape == (434, 337)
    # 434 rows of 3 pixels each: the last one is incomplete, but not stretched.
    assert shown.get_extent() == [99.5, 1110.5, 1351.5, 49.5]


@pytest.mark.parametrize("side", [700, 1000, 2000])
def test_a_line_of_one_pixel_is_visible_in_every_panel(side):
    truth = np.zeros((side, side), bool)
    truth[side // 3] = True
    micrograph = np.where(truth, 255, 0).astype(np.uint8)
    figure = plot_examples([Example("a", micrograph, truth, {"sigmoid": ~truth & False})], "sigmoid", "title")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    for axes in (figure.axes[1], figure.axes[3]):
        box = axes.bbox
        inside = drawn[-int(box.y1) : -int(box.y0) - 1, int(box.x0) + 3 : int(box.x1) - 3]
        assert inside.max() > 100
        assert axes.images[0].get_array().shape[0] < 600


def test_a_small_image_is_drawn_unchanged():
    axes = Figure(figsize=(4, 4)).subplots()
    image = np.arange(200, dtype=np.uint8).reshape(10, 20)
    show_image(axes, image)
    assert np.array_equal(axes.images[0].get_array(), image)


@pytest.mark.parametrize("name", ["$1$", "a$^{$b", r"\$5", "_hidden", "$$", "5 $"])
def test_a_name_is_drawn_as_it_is_in_a_title_and_a_legend(name):
    figure = Figure()
    axes = figure.subplots()
    axes.hist([1, 2], label=plain(name))
    texts = [axes.set_title(plain(name)), *axes.legend().get_texts()]
    FigureCanvasAgg(figure).draw()
    # What matplotlib draws of a text, and whether it takes it for a formula.
    drawn = [text._preprocess_math(text.get_text()) for text in texts]
    assert [(shown.removeprefix("\N{ZERO WIDTH SPACE}"), formula) for shown, formula in drawn] == [
        (name, False)
    ] * 2
