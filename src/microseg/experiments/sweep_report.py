"""A comparison of experiments as a figure, a table, and in words: IoU of both methods against one parameter."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from microseg.common.files import output_file, write_csv
from microseg.evaluation.figures import METHOD_COLOURS
from microseg.evaluation.intervals import Interval, student_interval
from microseg.experiments.comparison import SEED, Comparison, Micrographs, Point, show
from microseg.experiments.crossings import Crossing, describe, standing
from microseg.plotting import save_figure
from microseg.prediction.postprocessing import METHODS

HEADINGS = {
    "mean_iou": "mean IoU",
    "std_iou": "standard deviation over micrographs",
    "median_iou": "median IoU",
    "pooled_iou": "pooled IoU",
    "fraction_above_095": "share above 0.95",
    "fraction_zero": "share at 0",
}


def write_report(
    comparison: Comparison, micrographs: Mapping[str, Micrographs], folder: Path, settings: str
) -> list[Path]:
    """Write figure, table and words into `folder`, named after the parameter; return the three paths."""
    paths = [folder / f"{comparison.key}.{ending}" for ending in ("png", "csv", "md")]
    found = standing(comparison, micrographs)
    figure = plot_comparison(
        key=comparison.key,
        values=comparison.values,
        labels=None if comparison.is_numeric else [show(x) for x in comparison.places],
        series={method: {score: comparison.seeds(method, score) for score in HEADINGS} for method in METHODS},
        crossing=found.crossing if found else None,
        measured_on=str(comparison.measured_on),
    )
    with output_file(paths[0]) as partial:
        save_figure(figure, partial)
    write_csv(
        paths[1],
        ["experiment", comparison.key, "seed", "method", *HEADINGS],
        (
            [
                point.name,
                show(point.x),
                show(point.seed),
                method,
                *(point.scores[method][score] for score in HEADINGS),
            ]
            for point in comparison.points
            for method in METHODS
        ),
    )
    with output_file(paths[2]) as partial:
        partial.write_text(to_markdown(comparison, micrographs, settings), encoding="utf-8", newline="\n")
    return paths


def to_markdown(comparison: Comparison, micrographs: Mapping[str, Micrographs], settings: str) -> str:
    """Return tables, what can be told and what was left out as Markdown; `settings` ends the first sentence."""
    lines = [
        f"# IoU against {comparison.key}",
        "",
        f"Measured on {comparison.measured_on} (digest {comparison.measured_on.truth}){settings}. Intervals are "
        f"95 % intervals of the mean over seeds of the training ({SEED}), after Student.",
        "",
        f"| {comparison.key} | method | seeds | mean IoU | 95 % interval over seeds |",
        "|---|---|---|---|---|",
        *_means(comparison),
        "",
        describe(comparison, standing(comparison, micrographs)),
        "",
        f"| experiment | {comparison.key} | seed | method | {' | '.join(HEADINGS.values())} |",
        f"|---|---|---|---|{'---|' * len(HEADINGS)}",
        *(_table_line(point, method) for point in comparison.points for method in METHODS),
        "",
    ]
    if comparison.left_out:
        lines += ["Left out:", "", *(f"- {name}: {reason}" for name, reason in comparison.left_out), ""]
    return "\n".join(lines)


def _means(comparison: Comparison) -> Iterator[str]:
    for method in METHODS:
        for x, scores in zip(comparison.places, comparison.seeds(method, "mean_iou"), strict=True):
            mean = mean_over_seeds(scores)
            interval = "" if mean.low is None else f"{mean.low:.3f} to {mean.high:.3f}"
            yield f"| {show(x)} | {method} | {len(scores)} | {mean.value:.3f} | {interval} |"


def _table_line(point: Point, method: str) -> str:
    scores = [f"{point.scores[method][score]:.3f}" for score in HEADINGS]
    return f"| {point.name} | {show(point.x)} | {show(point.seed)} | {method} | {' | '.join(scores)} |"


MARKERS = {"sigmoid": "o", "morphology": "s"}
AXIS_NAMES = {
    "split.sample_size": "micrographs for training and validation (split.sample_size)",
    "train.epochs": "epochs (train.epochs)",
}
PANELS = {
    "mean_iou": "mean IoU",
    "median_iou": "median IoU",
    "fraction_above_095": "share of micrographs with IoU above 0.95",
    "fraction_zero": "share of micrographs with IoU 0",
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
