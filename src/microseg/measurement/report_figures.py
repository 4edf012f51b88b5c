"""The figures of the report, as SVG images inside its page."""

import base64
import io
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from microseg.measurement.formatting import column_name
from microseg.plotting import BLUE, ORANGE, SKY, VERMILION, plain

COLOURS = (BLUE, VERMILION, ORANGE, SKY, "#009E73", "#CC79A7")
"""The palette of Okabe and Ito, one colour a specimen; more specimens than colours are drawn as one."""

MICROMETRES = "\N{MICRO SIGN}m"
SIZE = (4.6, 3.0)
FEWEST_FOR_A_HISTOGRAM = 50
MOST_BINS = 24
LOWEST = {"aspect_ratio": 1}
"""The lowest value there can be, where it is not 0."""
MOST_VECTOR_DOTS = 1000
"""More dots are drawn as pixels, which keeps the page small."""

DISTRIBUTIONS = (
    ("equivalent_diameter_um", "Size", "diameter of the circle of equal area in {unit}"),
    ("aspect_ratio", "Elongation", "largest over smallest Feret diameter"),
    ("circularity", "Roundness", "4\N{GREEK SMALL LETTER PI} area / perimeter\N{SUPERSCRIPT TWO}, 1 for a circle"),
    ("orientation_deg", "Orientation", "degrees of the long axis, counter-clockwise"),
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
    """Plot the area fraction of every field by specimen, one below the other, with means and 95 % intervals.

    Args:
        fields: the table of fields.
        summary: the table of specimens.
    """
    rows = summary[summary["quantity"] == "area_fraction"]
    figure = Figure(figsize=(1.2 * SIZE[0], 1.1 + max(0.5, 0.3 * len(rows))), layout="constrained")
    axes = figure.subplots()
    for position, row in enumerate(rows.to_dict("records")):
        values = 100 * fields.loc[fields["specimen"] == row["specimen"], "area_fraction"].to_numpy()
        colour = COLOURS[position] if len(rows) <= len(COLOURS) else BLUE
        axes.scatter(values, position + _spread(len(values)), s=14, color=colour, alpha=0.6, linewidths=0)
        bars = 100 * np.array([[row["mean"] - row["low"]], [row["high"] - row["mean"]]])
        axes.errorbar(100 * row["mean"], position, xerr=bars, fmt="D", color="black", markersize=4, capsize=4)
    axes.set_yticks(range(len(rows)), [_short(name) for name in rows["specimen"]])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.tick_params(labeltop=len(rows) > len(COLOURS))
    axes.grid(axis="x", color="#d5dade", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set(xlabel="area fraction in %", title="Fields (dots), mean and 95 % interval (black)")
    return figure


def _spread(count: int) -> np.ndarray:
    """Return offsets from a line, in the order of the dots, so that a drift shows and no dot hides another."""
    return np.linspace(-0.28, 0.28, count) if count > 1 else np.zeros(count)


def distribution_figures(islands: pd.DataFrame, *, scaled: bool) -> Iterator[tuple[str, Figure]]:
    """Yield how size, shape, orientation and distance of the islands are distributed, if any, each with its title.

    Each is a histogram, or where a specimen has fewer than FEWEST_FOR_A_HISTOGRAM islands a strip plot.

    Args:
        islands: the table of islands with a column `specimen`; islands cut by the border are excluded.
        scaled: whether lengths are in micrometres or in pixels.
    """
    unit = MICROMETRES if scaled else "px"
    whole = islands[~islands["touches_border"]]
    specimens = list(dict.fromkeys(islands["specimen"]))
    for column, title, label in DISTRIBUTIONS:
        name = column_name(column, scaled=scaled)
        if len(specimens) <= len(COLOURS):
            groups = {one: whole.loc[whole["specimen"] == one, name].dropna().to_numpy() for one in specimens}
        else:
            groups = {"all specimens": whole[name].dropna().to_numpy()}
        fewest = min(filter(None, map(len, groups.values())), default=0)
        if fewest:
            few = fewest < FEWEST_FOR_A_HISTOGRAM
            figure = Figure(figsize=SIZE, layout="constrained")
            axes = figure.subplots()
            (_strips if few else _histogram)(axes, groups, column)
            axes.set(xlabel=label.format(unit=unit), title=title)
            if column == "orientation_deg":
                axes.set_xticks(range(0, 181, 45))
            yield title, figure


def _strips(axes: Axes, groups: dict[str, np.ndarray], column: str) -> None:
    """Draw every island as a dot, in a row for each group, with the median of the group as a line."""
    for position, ((_, values), colour) in enumerate(zip(groups.items(), COLOURS, strict=False)):
        offsets = position + _spread(len(values))
        dots = axes.scatter(values, offsets, s=14, color=colour, alpha=0.6, linewidths=0, clip_on=False)
        dots.set_rasterized(len(values) > MOST_VECTOR_DOTS)
        if len(values) and column != "orientation_deg":
            axes.vlines(np.median(values), position - 0.38, position + 0.38, color="black", linewidth=1.2)
    axes.set_yticks(range(len(groups)), [f"{_short(name)} ({len(values)})" for name, values in groups.items()])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    values = np.concatenate(list(groups.values()))
    axes.set_xlim(LOWEST.get(column, 0), 180 if column == "orientation_deg" else 1.05 * values.max())


def _histogram(axes: Axes, groups: dict[str, np.ndarray], column: str) -> None:
    edges = _edges(groups, column)
    for (name, values), colour in zip(groups.items(), COLOURS, strict=False):
        weights = np.full(len(values), 100 / max(1, len(values)))
        legend = f"{_short(name)} ({len(values)})"
        axes.hist(values, bins=list(edges), weights=weights, histtype="stepfilled", color=colour, alpha=0.25)
        axes.hist(values, bins=list(edges), weights=weights, histtype="step", color=colour, label=legend)
    axes.set(ylabel="islands in %", xlim=(edges[0], edges[-1]))
    axes.legend(fontsize=8)


def _edges(groups: dict[str, np.ndarray], column: str) -> np.ndarray:
    """Return the edges of the bins: fixed for angles, else up to the 99.5 % quantile by the rule of Rice."""
    if column == "orientation_deg":
        return np.linspace(0, 180, 13)
    fewest = min(filter(None, map(len, groups.values())))
    low, high = LOWEST.get(column, 0), float(np.quantile(np.concatenate(list(groups.values())), 0.995))
    return np.linspace(low, max(high, low + 1e-9), min(MOST_BINS, round(2 * fewest ** (1 / 3))) + 1)


def _short(name: str) -> str:
    return plain(name if len(name) <= 18 else f"{name[:17]}\N{HORIZONTAL ELLIPSIS}")
