"""A comparison of experiments as a table, in words and as files."""

from pathlib import Path

from microseg.common.figure_style import save_figure
from microseg.common.files import output_file, write_csv
from microseg.experiments.comparison import Comparison, Point, show
from microseg.experiments.crossings import describe_crossings, find_crossings
from microseg.experiments.figures import plot_comparison
from microseg.prediction.postprocessing import METHODS

HEADINGS = {
    "mean_iou": "mean IoU",
    "std_iou": "standard deviation",
    "median_iou": "median IoU",
    "pooled_iou": "pooled IoU",
    "share_above_095": "share above 0.95",
    "share_zero": "share at 0",
}


def write_report(comparison: Comparison, folder: Path, settings: str) -> list[Path]:
    """Write figure, table and words into `folder`, named after the parameter; return the three paths."""
    paths = [folder / f"{comparison.key}.{ending}" for ending in ("png", "csv", "md")]
    crossings = [one.x for one in find_crossings(comparison)] if comparison.is_numeric else []
    figure = plot_comparison(
        key=comparison.key,
        values=comparison.values,
        labels=None if comparison.is_numeric else [show(point.x) for point in comparison.points],
        series={method: {score: comparison.series(method, score) for score in HEADINGS} for method in METHODS},
        crossings=crossings,
        measured_on=str(comparison.measured_on),
    )
    with output_file(paths[0]) as partial:
        save_figure(figure, partial)
    write_csv(
        paths[1],
        ["experiment", comparison.key, "method", *HEADINGS],
        (
            [point.name, show(point.x), method, *(point.scores[method][score] for score in HEADINGS)]
            for point in comparison.points
            for method in METHODS
        ),
    )
    with output_file(paths[2]) as partial:
        partial.write_text(to_markdown(comparison, settings), encoding="utf-8", newline="\n")
    return paths


def to_markdown(comparison: Comparison, settings: str) -> str:
    """Return table, crossings and what was left out as Markdown; `settings` ends the first sentence."""
    lines = [
        f"# IoU against {comparison.key}",
        "",
        f"Measured on {comparison.measured_on} (digest {comparison.measured_on.truth}){settings}. "
        "The standard deviation is that over the micrographs.",
        "",
        f"| experiment | {comparison.key} | method | {' | '.join(HEADINGS.values())} |",
        f"|---|---|---|{'---|' * len(HEADINGS)}",
        *(_table_line(point, method) for point in comparison.points for method in METHODS),
        "",
        describe_crossings(comparison),
        "",
    ]
    if comparison.left_out:
        lines += ["Left out:", "", *(f"- {name}: {reason}" for name, reason in comparison.left_out), ""]
    return "\n".join(lines)


def _table_line(point: Point, method: str) -> str:
    scores = [f"{point.scores[method][score]:.3f}" for score in HEADINGS]
    return f"| {point.name} | {show(point.x)} | {method} | {' | '.join(scores)} |"
