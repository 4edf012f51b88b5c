"""What a series of experiments shows: the IoU of both methods against one parameter."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from microseg.evaluation.figures import METHOD_COLOURS

MARKERS = {"sigmoid": "o", "morphology": "s"}
AXIS_NAMES = {
    "split.sample_size": "micrographs for training and validation (split.sample_size)",
    "train.epochs": "epochs (train.epochs)",
}
PANELS = {
    "mean_iou": "mean IoU",
    "median_iou": "median IoU",
    "share_above_095": "share of micrographs with IoU above 0.95",
    "share_zero": "share of micrographs with IoU 0",
}
DECADE = 10
SMALLEST_GAP = 0.05
"""Between two values that are written below the axis, as a share of its length."""


def plot_comparison(
    key: str,
    values: Sequence[float],
    labels: Sequence[str] | None,
    series: Mapping[str, Mapping[str, Sequence[float]]],
    crossings: Sequence[float],
    measured_on: str,
) -> Figure:
    """Draw four panels against the parameter `key`, one line a method; the mean IoU with its spread.

    Args:
        key: the parameter, such as "train.epochs".
        values: where each experiment stands on its axis, ascending.
        labels: what to call these places where they are no numbers, else None.
        series: for each method the scores of PANELS and "std_iou", each with a value for each experiment.
        crossings: where the mean IoU of the methods cross.
        measured_on: which micrographs the experiments were judged on.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    for axes, (score, title) in zip(panels.flat, PANELS.items(), strict=True):
        for method, scores in series.items():
            colour = METHOD_COLOURS[method]
            axes.plot(values, scores[score], color=colour, marker=MARKERS[method], label=method)
            if score == "mean_iou":
                _draw_spread(axes, values, scores, colour)
        axes.set(title=title, xlabel=AXIS_NAMES.get(key, key), ylabel=title.split(" of ")[0], ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
        _scale(axes, values, labels)
    for place in crossings:
        panels.flat[0].axvline(place, color="grey", linestyle=":", label=f"crossing at {place:.4g}")
    panels.flat[0].set_title("mean IoU; band: ± standard deviation over the micrographs")
    panels.flat[0].legend()
    figure.suptitle(f"IoU against {key}, {measured_on}")
    return figure


def _draw_spread(axes: Axes, values: Sequence[float], scores: Mapping[str, Sequence[float]], colour: str) -> None:
    mean, deviation = np.asarray(scores["mean_iou"]), np.asarray(scores["std_iou"])
    low, high = np.clip(mean - deviation, 0, 1), np.clip(mean + deviation, 0, 1)
    axes.fill_between(values, low, high, color=colour, alpha=0.15, linewidth=0)


def _scale(axes: Axes, values: Sequence[float], labels: Sequence[str] | None) -> None:
    places = np.asarray(values)
    if labels is None and places.min() > 0 and places.max() > DECADE * places.min():
        axes.set_xscale("log")
        places = np.log(places)
    gaps = np.diff(places) / np.ptp(places)
    if labels is not None or gaps.min() > SMALLEST_GAP:
        axes.set_xticks(values, labels or [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
