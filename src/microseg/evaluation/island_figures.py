"""Figures of islands, as wide as one column of a journal: which are found, by size, place and strictness."""

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from microseg.common.column_figures import COLUMN, column_style
from microseg.evaluation.figures import METHOD_COLOURS
from microseg.evaluation.tables import IslandClass

MARKERS = {"sigmoid": "o", "morphology": "s"}
AXIS_NAMES = {
    "area": "area of the annotated island in pixels",
    "border_distance": "distance from the border of the micrograph in pixels",
}


def island_figures(
    classes: Sequence[IslandClass], f1: Sequence[tuple[float, ...]], methods: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    """Draw all figures of islands, each with its file name; `f1` as `tables.f1_by_threshold` yields it."""
    for of in AXIS_NAMES:
        chosen = [one for one in classes if one.of == of]
        if chosen:
            yield f"island_recall_by_{of}.png", plot_recall(chosen)
    yield "island_f1.png", plot_f1(f1, methods)


def plot_recall(classes: Sequence[IslandClass]) -> Figure:
    """Show the share of islands found in each class of one property, with its interval, for each method."""
    ticks = list(dict.fromkeys((one.low, f"{one.label}\nn = {one.islands}") for one in classes))
    methods = list(dict.fromkeys(one.method for one in classes))
    with column_style():
        figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
        axes = figure.subplots()
        for number, method in enumerate(methods):
            own = [one for one in classes if one.method == method]
            shift = 0.12 * (number - (len(methods) - 1) / 2)
            recall = [one.recall.value for one in own]
            axes.errorbar(
                [place + shift for place in range(len(own))],
                recall,
                yerr=[
                    [value - (one.recall.low or 0) for one, value in zip(own, recall, strict=True)],
                    [(one.recall.high or 1) - value for one, value in zip(own, recall, strict=True)],
                ],
                fmt=MARKERS.get(method, "o"),
                color=METHOD_COLOURS[method],
                capsize=2,
                label=method,
            )
        axes.set(xlabel=AXIS_NAMES[classes[0].of], ylabel="share of islands found", ylim=(-0.03, 1.03))
        axes.set_xticks(range(len(ticks)), [label for _, label in ticks], fontsize=6)
        figure.legend(loc="outside upper center", ncols=len(methods))
    return figure


def plot_f1(f1: Sequence[tuple[float, ...]], methods: Sequence[str]) -> Figure:
    """Show how the F1 of the islands falls as they have to be covered better to count as found."""
    thresholds, *scores = zip(*f1, strict=True)
    with column_style():
        figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
        axes = figure.subplots()
        for method, values in zip(methods, scores, strict=True):
            axes.plot(
                thresholds, values, color=METHOD_COLOURS[method], marker=MARKERS.get(method, "o"), label=method
            )
        axes.set(xlabel="an island is found above this IoU", ylabel="F1 of the islands", ylim=(-0.03, 1.03))
        figure.legend(loc="outside upper center", ncols=len(methods))
    return figure
