"""The figures of the report, as SVG images inside its page."""

import base64
import io
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from microseg.measurement.formatting import column_name
from microseg.plotting import BLUE, ORANGE, SKY, VERMILION, plain

COLOURS = (BLUE, VERMILION, ORANGE, SKY, "#009E73", "#CC79A7")
"""The palette of Okabe and Ito, one colour a specimen; more specimens than colours are drawn as one."""

MICROMETRES = "\N{MICRO SIGN}m"
SIZE = (4.6, 3.0)

DISTRIBUTIONS = (
    ("equivalent_diameter_um", "Size", "diameter of the circle of equal area in {unit}"),
    ("aspect_ratio", "Elongation", "largest over smallest Feret diameter"),
    ("circularity", "Roundness", "4\N{GREEK SMALL LETTER PI} area / perimeter\N{SUPERSCRIPT TWO}, 1 for a circle"),
    ("orientation_deg", "Orientation", "long axis from horizontal, counter-clockwise, in degrees"),
    ("nearest_um", "Nearest neighbour", "distance of the centroids in {unit}"),
)
"""The columns of the table of islands that are drawn, each with its title and axis label."""

ISLAND_COLUMNS = ("image", *(column for column, _, _ in DISTRIBUTIONS), "touches_border")


def svg_url(figure: Figure) -> str:
    """Return a figure as a data URL of an SVG image; the same figure gives the same bytes."""
    FigureCanvasSVG(figure)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "microseg"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def specimens_figure(fields: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Plot the area fraction of every field by specimen, with means and 95 % intervals.

    Args:
        fields: the table of fields.
        summary: the table of specimens.
    """
    rows = summary[summary["quantity"] == "area_fraction"]
    figure = Figure(figsize=(max(SIZE[0], 1.1 * len(rows) + 1.5), 3.4), layout="constrained")
    axes = figure.subplots()
    for position, row in enumerate(rows.to_dict("records")):
        values = 100 * fields.loc[fields["specimen"] == row["specimen"], "area_fraction"].to_numpy()
        # Fields are spread out in their order, so that a drift shows and no dot hides another.
        spread = np.linspace(-0.28, 0.28, len(values)) if len(values) > 1 else np.zeros(1)
        axes.scatter(
            position + spread, values, s=14, color=COLOURS[position % len(COLOURS)], alpha=0.6, linewidths=0
        )
        bars = 100 * np.array([[row["mean"] - row["low"]], [row["high"] - row["mean"]]])
        axes.errorbar(position, 100 * row["mean"], yerr=bars, fmt="D", color="black", markersize=5, capsize=7)
    axes.set_xticks(range(len(rows)), [_short(name) for name in rows["specimen"]])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set(ylabel="area fraction in %", title="Fields (dots), mean and 95 % interval (black)")
    return figure


def distribution_figures(islands: pd.DataFrame, *, scaled: bool) -> Iterator[tuple[str, Figure]]:
    """Yield a histogram of size, shape, orientation and distance of the islands, if any, each with its title.

    Args:
        islands: the table of islands with a column `specimen`; islands cut by the border are excluded.
        scaled: whether lengths are in micrometres or in pixels.
    """
    if islands.empty:
        return
    unit = MICROMETRES if scaled else "px"
    whole = islands[~islands["touches_border"]]
    specimens = list(dict.fromkeys(islands["specimen"]))
    for column, title, label in DISTRIBUTIONS:
        name = column_name(column, scaled=scaled)
        if len(specimens) <= len(COLOURS):
            groups = {one: whole.loc[whole["specimen"] == one, name].dropna().to_numpy() for one in specimens}
        else:
            groups = {"all specimens": whole[name].dropna().to_numpy()}
        yield title, _histogram(groups, title, label.format(unit=unit), column)


def _histogram(groups: dict[str, np.ndarray], title: str, label: str, column: str) -> Figure:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    edges = _edges(np.concatenate(list(groups.values())), column)
    for (name, values), colour in zip(groups.items(), COLOURS, strict=False):
        weights = np.full(len(values), 100 / max(1, len(values)))
        legend = f"{_short(str(name))} ({len(values)})"
        axes.hist(values, bins=list(edges), weights=weights, histtype="stepfilled", color=colour, alpha=0.25)
        axes.hist(values, bins=list(edges), weights=weights, histtype="step", color=colour, label=legend)
    axes.set(xlabel=label, ylabel="islands in %", title=title, xlim=(edges[0], edges[-1]))
    if column == "orientation_deg":
        axes.set_xticks(range(0, 181, 45))
    axes.legend(fontsize=8)
    return figure


def _edges(values: Sequence[float] | np.ndarray, column: str) -> np.ndarray:
    """Return the edges of the bins: fixed for angles, else 24 bins up to the 99.5 % quantile."""
    if column == "orientation_deg":
        return np.linspace(0, 180, 13)
    low = 1.0 if column == "aspect_ratio" else 0.0
    high = float(np.quantile(values, 0.995)) if len(values) else low + 1
    return np.linspace(low, max(high, low + 1e-9), 25)


def _short(name: str) -> str:
    return plain(name if len(name) <= 18 else f"{name[:17]}\N{HORIZONTAL ELLIPSIS}")
