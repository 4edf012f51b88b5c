"""Figures of the annotations show the right data, in the same bytes every time."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from microseg.annotations.figures import (
    annotation_figures,
    mask_figures,
    plot_counts,
    plot_distribution,
    plot_image_and_mask,
    plot_polygon,
    plot_sheet,
)
from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask
from microseg.annotations.quality import check_annotations
from microseg.plotting import ORANGE, save_figure

MICROGRAPH = np.full((60, 80), 128, np.uint8)
MASK = ImageMask("a.png", [AnnotatedPolygon((20, 20), [(10, 10), (30, 10), (30, 30), (-5, 30)], 2)])


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def fraction_of(color, image):
    return (np.abs(image - np.array(to_rgb(color)) * 255).max(axis=-1) < 30).mean()


def test_all_polygons_lie_on_the_micrograph():
    with_polygon = plot_image_and_mask(MICROGRAPH, MASK)
    (axes,) = with_polygon.axes
    assert np.array_equal(axes.images[0].get_array(), MICROGRAPH)
    assert [patch.get_xy()[:4].tolist() for patch in axes.patches] == [MASK[0].nodes.tolist()]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 79.5), (59.5, -0.5))
    assert fraction_of(ORANGE, pixels(with_polygon)) > fraction_of(
        ORANGE, pixels(plot_image_and_mask(MICROGRAPH, ImageMask("a")))
    )


def test_vertices_beside_the_filled_shape():
    figure = plot_polygon(MASK[0], (60, 80), "title")
    points, shape = figure.axes
    assert np.column_stack(points.lines[0].get_data()).tolist() == MASK[0].nodes.tolist()
    assert shape.images[0].get_array().sum() > 400
    # Nodes reach from x = -5 to 30, y = 10 to 30: five pixels around them are shown, inside the micrograph.
    assert shape.images[0].get_extent() == [-0.5, 35.5, 35.5, 4.5]
    assert np.array_equal(shape.images[0].get_array(), create_binary_mask(MASK, 60, 80)[5:36, :36])


def test_a_row_for_each_example():
    figure = plot_sheet([("a", MICROGRAPH, MICROGRAPH > 0), ("b", MICROGRAPH, MICROGRAPH > 200)])
    assert [axes.get_title() for axes in figure.axes] == [
        "a",
        "mask, 100.0% of the micrograph",
        "b",
        "mask, 0.0% of the micrograph",
    ]


def test_the_most_annotated_come_first():
    (axes,) = plot_counts([("a", 5), ("b", 3)], "islands", "number", ORANGE).axes
    assert [bar.get_width() for bar in axes.patches] == [5, 3]
    assert axes.yaxis_inverted()


def test_a_distribution_counts_every_value():
    for values in ([1, 1, 2, 7], np.linspace(0, 9, 30), [3], [0.5, 0.5]):
        (axes,) = plot_distribution(values, "values", "things").axes
        assert sum(bar.get_height() for bar in axes.patches) == len(values)


def test_all_figures_of_both_stages(tmp_path):
    checked = check_annotations([MASK], [], {"a.png": (60, 80)}, None)
    figures = dict(annotation_figures(checked)) | dict(mask_figures([MASK], [0.1], lambda _: MICROGRAPH))
    for name, figure in figures.items():
        save_figure(figure, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("1.png", "2.png"):
        save_figure(plot_image_and_mask(MICROGRAPH, MASK), tmp_path / name)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    assert b"matplotlib" not in (tmp_path / "1.png").read_bytes()
