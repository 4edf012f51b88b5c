"""The figure of a comparison: which lines, which axis."""

from collections.abc import Sequence

import pytest
from matplotlib.figure import Figure

from microseg.experiments.figures import plot_comparison

SCORES = ("mean_iou", "median_iou", "std_iou", "share_above_095", "share_zero")


def draw(values: Sequence[float], labels: Sequence[str] | None = None) -> Figure:
    series = {
        method: {score: [0.1 * place for place, _ in enumerate(values)] for score in SCORES}
        for method in ("sigmoid", "morphology")
    }
    return plot_comparison("train.epochs", values, labels, series, [2.5], "20 test micrographs of synthetic")


def test_each_panel_has_a_line_a_method_and_the_first_says_what_the_band_is() -> None:
    panels = draw([2, 3, 4]).axes
    assert len(panels) == 4
    assert [len(panel.lines) for panel in panels] == [3, 2, 2, 2]  # the third is the crossing
    assert len(panels[0].collections) == 2
    assert "standard deviation over the micrographs" in panels[0].get_title()
    assert list(panels[0].lines[0].get_xdata()) == [2, 3, 4]


@pytest.mark.parametrize(
    ("values", "scale"),
    [([10, 101], "log"), ([10, 100], "linear"), ([0, 1000], "linear"), ([0.0001, 0.01], "log")],
)
def test_the_axis_is_logarithmic_over_more_than_a_decade(values: list[float], scale: str) -> None:
    assert draw(values).axes[0].get_xscale() == scale


def test_tried_values_are_written_below_the_axis_where_there_is_room() -> None:
    def written(figure: Figure) -> list[str]:
        return [tick.get_text() for tick in figure.axes[0].get_xticklabels()]

    assert written(draw([10, 25, 50, 100])) == ["10", "25", "50", "100"]
    assert written(draw([0, 1], ["bce", "dice_bce"])) == ["bce", "dice_bce"]
    assert "1001" not in written(draw([1000, 1001, 2000]))
