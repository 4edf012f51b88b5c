"""What a series of experiments shows: the IoU of both methods against one parameter."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from microseg.evaluation.figures import METHOD_COLOURS
from microseg.evaluation.intervals import Interval, student_interval
from microseg.experiments.crossings import Crossing

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
    series: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    crossing: Crossing | None,
    measured_on: str,
) -> Figure:
    """Draw four panels against the parameter `key`: every seed a point, a line through the means for each method.

    Args:
        key: the parameter, such as "train.epochs".
        values: where each experiment stands on its axis, ascending.
        labels: what to call these places where they are no numbers, else None.
        series: for each method the scores of PANELS, for each place a list with a value for each seed. Bars are
            95 % intervals of the mean over seeds, after Student.
        crossing: where the mean IoU of the methods cross, with its interval; None where that cannot be told.
        measured_on: which micrographs the experiments were judged on.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    for axes, (score, title) in zip(panels.flat, PANELS.items(), strict=True):
        for method, scores in series.items():
            _draw_seeds(axes, values, scores[score], method)
        axes.set(title=title, xlabel=AXIS_NAMES.get(key, key), ylabel=title.split(" of ")[0], ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
        _scale(axes, values, labels)
    first = panels.flat[0]
    if crossing:
        first.axvline(crossing.x, color="grey", linestyle=":", label=f"crossing at {crossing.x:.4g}")
        first.axvspan(crossing.low, crossing.high, color="grey", alpha=0.15, linewidth=0)
    fewest = min(len(seeds) for scores in series.values() for seeds in scores["mean_iou"])
    bars = "bars: 95 % interval over seeds" if fewest > 1 else "one seed a point: differences may be noise"
    first.set_title(f"mean IoU; {bars}")
    first.legend()
    figure.suptitle(f"IoU against {key}, {measured_on}")
    return figure


def mean_over_seeds(scores: Sequence[float]) -> Interval:
    """Return the mean of scores from 0 to 1, one for each seed, and Student's 95 % interval of it within those."""
    return student_interval(scores, 0, 1)


def _draw_seeds(axes: Axes, values: Sequence[float], scores: Sequence[Sequence[float]], method: str) -> None:
    colour, marker = METHOD_COLOURS[method], MARKERS[method]
    means = [mean_over_seeds(seeds) for seeds in scores]
    axes.plot(values, [mean.value for mean in means], color=colour, marker=marker, label=method)
    for value, seeds, mean in zip(values, scores, means, strict=True):
        if mean.low is not None and mean.high is not None:
            axes.scatter([value] * len(seeds), seeds, color=colour, marker=marker, s=10, alpha=0.5)
            below, above = mean.value - mean.low, mean.high - mean.value
            axes.errorbar(value, mean.value, yerr=[[below], [above]], color=colour, capsize=3)


def _scale(axes: Axes, values: Sequence[float], labels: Sequence[str] | None) -> None:
    places = np.asarray(values)
    if labels is None and places.min() > 0 and places.max() > DECADE * places.min():
        axes.set_xscale("log")
        places = np.log(places)
    gaps = np.diff(places) / np.ptp(places)
    if labels is not None or gaps.min() > SMALLEST_GAP:
        axes.set_xticks(values, labels or [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
