"""The report of a comparison: IoU of both methods against one parameter, as a figure, a table and text."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from microseg.common.files import output_file, write_csv
from microseg.common.tables import markdown_table
from microseg.evaluation.figures import MARKERS, METHOD_COLOURS
from microseg.evaluation.intervals import FEWEST_UNITS, estimate
from microseg.experiments.comparison import SEED, Comparison, Micrographs, show
from microseg.experiments.crossings import Crossing, describe, rank_methods
from microseg.plotting import plain, save_figure
from microseg.prediction.postprocessing import METHODS

HEADINGS = {
    "mean_iou": "mean IoU",
    "std_iou": "standard deviation over micrographs",
    "median_iou": "median IoU",
    "pooled_iou": "pooled IoU",
    "fraction_above_095": "fraction above 0.95",
    "fraction_zero": "fraction at 0",
}

AXIS_NAMES = {
    "split.sample_size": "micrographs for training and validation (split.sample_size)",
    "train.epochs": "epochs (train.epochs)",
}
PANELS = {
    "mean_iou": "mean IoU",
    "median_iou": "median IoU",
    "fraction_above_095": "fraction of micrographs with IoU above 0.95",
    "fraction_zero": "fraction of micrographs with IoU 0",
}
DECADE = 10
SMALLEST_GAP = 0.05
"""Smallest distance between two labelled values on the axis, as a fraction of its length."""


def write_report(
    comparison: Comparison, micrographs: Mapping[str, Micrographs], folder: Path, settings: str
) -> list[Path]:
    """Write figure, table and text into `folder`, named after the parameter; return their paths.

    `micrographs` are the IoU on each micrograph by experiment, or empty to test over seeds alone. The text
    mentions `settings`, such as ", train.epochs=20"; "" for none.
    """
    paths = [folder / f"{comparison.key}.{ending}" for ending in ("png", "csv", "md")]
    ranking = rank_methods(comparison, micrographs)
    figure = plot_comparison(
        key=comparison.key,
        values=comparison.values,
        labels=None if comparison.is_numeric else [plain(show(x)) for x in comparison.points_by_x],
        series={method: {score: comparison.seeds(method, score) for score in HEADINGS} for method in METHODS},
        crossing=ranking.crossing if ranking else None,
        dataset=str(comparison.dataset),
    )
    with output_file(paths[0]) as partial:
        save_figure(figure, partial)
    write_csv(paths[1], ["experiment", comparison.key, "seed", "method", *HEADINGS], _rows(comparison))
    with output_file(paths[2]) as partial:
        partial.write_text(to_markdown(comparison, micrographs, settings), encoding="utf-8", newline="\n")
    return paths


def to_markdown(comparison: Comparison, micrographs: Mapping[str, Micrographs], settings: str) -> str:
    """Return tables, the ranking of the methods and the excluded experiments as Markdown; see `write_report`."""
    rounded = ((f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row) for row in _rows(comparison))
    lines = [
        f"# IoU against {comparison.key}",
        "",
        f"Evaluated on {comparison.dataset} (digest {comparison.dataset.ground_truth_sha256}){settings}. "
        f"Intervals are 95 % intervals of the mean over training seeds ({SEED}).",
        "",
        *markdown_table(
            (comparison.key, "method", "seeds", "mean IoU", "95 % interval over seeds"), _mean_rows(comparison)
        ),
        describe(comparison, rank_methods(comparison, micrographs)),
        "",
        *markdown_table(("experiment", comparison.key, "seed", "method", *HEADINGS.values()), rounded),
    ]
    if comparison.excluded:
        lines += ["Excluded:", "", *(f"- {name}: {reason}" for name, reason in comparison.excluded), ""]
    return "\n".join(lines)


def _rows(comparison: Comparison) -> Iterator[tuple[str | float, ...]]:
    for point in comparison.points:
        for method in METHODS:
            scores = (point.scores[method][score] for score in HEADINGS)
            yield (point.name, show(point.x), show(point.seed), method, *scores)


def _mean_rows(comparison: Comparison) -> Iterator[tuple[object, ...]]:
    for method in METHODS:
        for x, scores in zip(comparison.points_by_x, comparison.seeds(method, "mean_iou"), strict=True):
            mean = estimate(scores)
            interval = "" if mean.interval is None else f"{mean.interval.low:.3f} to {mean.interval.high:.3f}"
            yield show(x), method, len(scores), f"{mean.value:.3f}", interval


def plot_comparison(
    key: str,
    values: Sequence[float],
    labels: Sequence[str] | None,
    series: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    crossing: Crossing | None,
    dataset: str,
) -> Figure:
    """Plot four panels against the parameter `key`: a point for every seed, a line through the means of a method.

    Bars are 95 % intervals of the mean over seeds.

    Args:
        key: the parameter, such as "train.epochs".
        values: its values, or their positions on the axis, ascending.
        labels: labels of these positions where they are not numbers, else None.
        series: for each method the scores of PANELS, a list for each value with a score for each seed.
        crossing: where the mean IoU of the methods cross; None where that is not known.
        dataset: the micrographs that the experiments were evaluated on.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    for axes, (score, title) in zip(panels.flat, PANELS.items(), strict=True):
        for method, scores in series.items():
            _draw_seeds(axes, values, scores[score], method)
        axes.set(title=title, xlabel=AXIS_NAMES.get(key, key), ylabel=title.split(" of ")[0], ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
        _set_x_axis(axes, values, labels)
    first = panels.flat[0]
    if crossing:
        first.axvline(crossing.x, color="grey", linestyle=":", label=f"crossing at about {crossing.x:.4g}")
        first.axvspan(crossing.low, crossing.high, color="grey", alpha=0.15, linewidth=0)
    fewest = min(len(seeds) for scores in series.values() for seeds in scores["mean_iou"])
    certain = fewest >= FEWEST_UNITS
    bars = "bars: 95 % interval over seeds" if certain else "fewer than three seeds: differences may be noise"
    first.set_title(f"mean IoU; {bars}")
    first.legend()
    figure.suptitle(f"IoU against {key}, {dataset}")
    return figure


def _draw_seeds(axes: Axes, values: Sequence[float], scores: Sequence[Sequence[float]], method: str) -> None:
    colour, marker = METHOD_COLOURS[method], MARKERS[method]
    means = [estimate(seeds) for seeds in scores]
    axes.plot(values, [mean.value for mean in means], color=colour, marker=marker, label=method)
    for value, seeds, mean in zip(values, scores, means, strict=True):
        if len(seeds) > 1:
            axes.scatter([value] * len(seeds), seeds, color=colour, marker=marker, s=10, alpha=0.5)
        if mean.interval is not None:
            below, above = mean.value - mean.interval.low, mean.interval.high - mean.value
            axes.errorbar(value, mean.value, yerr=[[below], [above]], color=colour, capsize=3)


def _set_x_axis(axes: Axes, values: Sequence[float], labels: Sequence[str] | None) -> None:
    positions = np.asarray(values)
    if labels is None and positions.min() > 0 and positions.max() > DECADE * positions.min():
        axes.set_xscale("log")
        positions = np.log(positions)
    gaps = np.diff(positions) / np.ptp(positions)
    if labels is not None or gaps.min() > SMALLEST_GAP:
        axes.set_xticks(values, labels or [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
