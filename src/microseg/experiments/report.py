"""A comparison of experiments as a table, in words and as files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from microseg.common.figure_style import save_figure
from microseg.common.files import output_file, write_csv
from microseg.experiments.comparison import SEED, Comparison, Point, show
from microseg.experiments.crossings import Micrographs, describe, standing
from microseg.experiments.figures import mean_over_seeds, plot_comparison
from microseg.prediction.postprocessing import METHODS

HEADINGS = {
    "mean_iou": "mean IoU",
    "std_iou": "standard deviation over micrographs",
    "median_iou": "median IoU",
    "pooled_iou": "pooled IoU",
    "share_above_095": "share above 0.95",
    "share_zero": "share at 0",
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
