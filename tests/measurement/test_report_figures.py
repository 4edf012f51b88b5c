"""The figures of the report: what is drawn for few and many islands and specimens."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG

from microseg.measurement.report_figures import DISTRIBUTIONS, distribution_figures, specimens_figure


def islands(*counts):
    """Return a table with so many islands of each specimen, some close to the lowest possible values."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"specimen": np.repeat([f"heat {number}" for number in range(len(counts))], counts)})
    for column, _, _ in DISTRIBUTIONS:
        table[column] = (column == "aspect_ratio") + rng.exponential(0.3, len(table))
    return table.assign(touches_border=False)


def axes_of(table):
    return {title: figure.axes[0] for title, figure in distribution_figures(table, scaled=True)}


@pytest.mark.parametrize("counts", [(1,), (49,), (400, 12), (3, 0, 4)])
def test_below_fifty_islands_each_is_a_dot(counts):
    for axes in axes_of(islands(*counts)).values():
        dots = [collection.get_offsets() for collection in axes.collections if len(collection.get_offsets()) > 0]
        assert sum(map(len, dots)) >= sum(counts)
        assert not axes.patches


def test_every_dot_is_at_the_value_of_its_island():
    table = islands(7, 5)
    (first, *_) = [one for one in axes_of(table)["Size"].collections if len(one.get_offsets()) == 7]
    assert first.get_offsets()[:, 0].tolist() == table["equivalent_diameter_um"][:7].tolist()


@pytest.mark.parametrize(("count", "classes"), [(50, 7), (125, 10), (10_000, 24)])
def test_a_histogram_of_many_islands_has_classes_by_the_rule_of_rice(count, classes):
    axes = axes_of(islands(count))["Size"]
    assert axes.patches
    edges = np.unique(axes.patches[0].get_xy()[:, 0])
    assert len(edges) == classes + 1


@pytest.mark.parametrize("counts", [(3,), (60,), (20, 200)])
def test_no_axis_reaches_below_what_there_can_be(counts):
    for title, axes in axes_of(islands(*counts)).items():
        assert axes.get_xlim()[0] == (title == "Elongation")


def test_islands_that_the_border_cuts_are_left_out_and_none_gives_no_figure():
    assert axes_of(islands(5).assign(touches_border=True)) == {}


def test_thirty_specimens_stand_below_each_other_with_their_names():
    names = [f"specimen {number}" for number in range(30)]
    fields = pd.DataFrame({"specimen": np.repeat(names, 4), "area_fraction": np.tile([0.0, 0.01, 0.02, 0.2], 30)})
    summary = pd.DataFrame({"specimen": names, "quantity": "area_fraction", "mean": 0.05, "low": 0.0, "high": 0.4})
    figure = specimens_figure(fields, summary)
    FigureCanvasSVG(figure).draw()
    axes = figure.axes[0]
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == names
    boxes = sorted((label.get_window_extent().y0, label.get_window_extent().y1) for label in labels)
    assert all(above[0] > below[1] for below, above in pairwise(boxes))
    assert axes.get_xlim()[0] == 0
