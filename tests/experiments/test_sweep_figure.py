"""The figure of a comparison: its lines and axes."""

from collections.abc import Sequence

import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from microseg.experiments.crossings import Crossing
from microseg.experiments.sweep_report import plot_comparison

SCORES = ("mean_iou", "median_iou", "std_iou", "fraction_above_095", "fraction_zero")


def draw(values: Sequence[float], labels: Sequence[str] | None = None, seeds: int = 1) -> Figure:
    series = {
        method: {
            score: [[0.1 * place + 0.01 * seed for seed in range(seeds)] for place, _ in enumerate(values)]
            for score in SCORES
        }
        for method in ("sigmoid", "morphology")
    }
    crossing = Crossing(2.5, 2.2, 2.8, "sigmoid") if seeds > 1 else None
    return plot_comparison("train.epochs", values, labels, series, crossing, "20 test micrographs of synthetic")


def test_every_seed_is_a_point_and_the_line_goes_through_the_means() -> None:
    panels = draw([2, 3, 4], seeds=3).axes
    assert len(panels) == 4
    line = panels[0].lines[0]
    assert list(line.get_xdata()) == [2, 3, 4]
    assert line.get_ydata() == pytest.approx([0.01, 0.11, 0.21])
    clouds = [one for one in panels[0].collections if isinstance(one, PathCollection)]
    assert sum(len(cloud.get_offsets()) for cloud in clouds) == 2 * 3 * 3
    assert "95 % interval over seeds" in panels[0].get_title()
    assert "crossing at about 2.5" in panels[0].get_legend_handles_labels()[1]


def test_one_seed_per_value_is_pointed_out() -> None:
    first = draw([2, 3, 4]).axes[0]
    assert "differences may be noise" in first.get_title()
    assert len(first.lines) == 2
    assert not first.collections


@pytest.mark.parametrize(
    ("values", "scale"),
    [([10, 101], "log"), ([10, 100], "linear"), ([0, 1000], "linear"), ([0.0001, 0.01], "log")],
)
def test_the_axis_is_logarithmic_over_more_than_a_decade(values: list[float], scale: str) -> None:
    assert draw(values).axes[0].get_xscale() == scale


def test_values_label_the_axis_where_there_is_room() -> None:
    def written(figure: Figure) -> list[str]:
        return [tick.get_text() for tick in figure.axes[0].get_xticklabels()]

    assert written(draw([10, 25, 50, 100])) == ["10", "25", "50", "100"]
    assert written(draw([0, 1], ["bce", "dice_bce"])) == ["bce", "dice_bce"]
    assert "1001" not in written(draw([1000, 1001, 2000]))
