"""Figures of an evaluation: masks and their errors, IoU, islands, and the reliability diagram."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from microseg.evaluation.calibration import Values, expected_calibration_error, reliability_table
from microseg.evaluation.robustness import Robustness
from microseg.evaluation.scores import MeasuredImage, calculate_iou
from microseg.evaluation.tables import IslandClass
from microseg.plotting import BLUE, COLUMN, SKY, ImageArray, column_style, plain, show_image

Mask = NDArray[np.bool_]

TRUE_NEGATIVE, TRUE_POSITIVE = (0, 0, 0), (255, 255, 255)
FALSE_NEGATIVE, FALSE_POSITIVE = (255, 0, 255), (0, 255, 255)
METHOD_COLOURS = {"sigmoid": "#0072B2", "morphology": "#D55E00"}
"""Blue and vermilion of Okabe and Ito, which colour-blind readers tell apart."""
MARKERS = {"sigmoid": "o", "morphology": "s"}


@dataclass(frozen=True)
class Example:
    """One micrograph to show: grey values 0 to 255, ground truth, a mask for each method; all (height, width)."""

    name: str
    micrograph: NDArray[np.uint8]
    truth: Mask
    predictions: Mapping[str, Mask]


def graph_iou(truth: Mask, prediction: Mask) -> NDArray[np.uint8]:
    """Colour each pixel by how prediction and ground truth agree, (height, width, 3) of 0 to 255.

    True negatives are black, true positives white, false negatives magenta, false positives cyan.
    """
    colours = np.full((*truth.shape, 3), TRUE_NEGATIVE, np.uint8)
    colours[truth & prediction] = TRUE_POSITIVE
    colours[truth & ~prediction] = FALSE_NEGATIVE
    colours[prediction & ~truth] = FALSE_POSITIVE
    return colours


def plot_examples(examples: Sequence[Example], method: str, title: str) -> Figure:
    """Show a row for each example: micrograph, ground truth, the prediction of `method`, and the error map."""
    figure = Figure(figsize=(12, 0.9 + 2.6 * len(examples)), layout="constrained")
    axes = figure.subplots(len(examples), 4, squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        prediction = example.predictions[method]
        _show(row[0], example.micrograph, example.name)
        _show(row[1], example.truth, "annotated")
        _show(row[2], prediction, f"predicted, IoU {calculate_iou(example.truth, prediction):.3f}")
        _show(row[3], graph_iou(example.truth, prediction), "errors")
    figure.suptitle(title)
    _explain_errors(figure)
    return figure


def plot_methods(example: Example) -> Figure:
    """Show the methods side by side on one micrograph: a row each, its mask beside its error map."""
    methods = list(example.predictions)
    figure = Figure(figsize=(12, 0.9 + 3.2 * len(methods)), layout="constrained")
    axes = figure.subplots(len(methods), 3, squeeze=False)
    for number, (row, method) in enumerate(zip(axes, methods, strict=True)):
        prediction = example.predictions[method]
        _show(row[0], example.truth if number else example.micrograph, "annotated" if number else example.name)
        _show(row[1], prediction, f"{method}, IoU {calculate_iou(example.truth, prediction):.3f}")
        _show(row[2], graph_iou(example.truth, prediction), f"errors of {method}")
    figure.suptitle("Where the two ways of post-processing differ most")
    _explain_errors(figure)
    return figure


@contextmanager
def _column_figure() -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure of one column to draw in; what is drawn is explained above it."""
    with column_style():
        figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
        axes = figure.subplots()
        yield figure, axes
        figure.legend(loc="outside upper center", ncols=len(axes.get_legend_handles_labels()[1]))


def plot_iou_distribution(iou: Mapping[str, Sequence[float]]) -> Figure:
    """Show how the IoU of the micrographs is distributed, the methods beside each other in 20 classes."""
    with _column_figure() as (figure, axes):
        axes.hist(
            list(iou.values()),
            bins=list(np.linspace(0, 1, 21)),
            label=[f"{method}, mean {np.mean(values):.3f}" for method, values in iou.items()],
            color=[METHOD_COLOURS[method] for method in iou],
        )
        axes.set(xlabel="IoU of a micrograph", ylabel="micrographs", xlim=(0, 1))
    return figure


def plot_iou_against(values: Sequence[float], iou: Mapping[str, Sequence[float]], label: str) -> Figure:
    """Show each micrograph's IoU against another property of it, one mark a method; NaN values are omitted."""
    with _column_figure() as (figure, axes):
        for (method, one_iou), marker in zip(iou.items(), "ox", strict=False):
            axes.scatter(values, one_iou, label=method, color=METHOD_COLOURS[method], marker=marker, s=12)
        axes.set(xlabel=label, ylabel="IoU of a micrograph", ylim=(-0.03, 1.03))
    return figure


def iou_figures(measured: Sequence[MeasuredImage]) -> Iterator[tuple[str, Figure]]:
    """Draw the IoU of at least one micrograph in figures of one column, each with its file name."""
    iou = {method: [one.scores[method].iou for one in measured] for method in measured[0].scores}
    yield "iou_distribution.png", plot_iou_distribution(iou)
    fractions = [one.foreground_fraction for one in measured]
    yield "iou_against_foreground.png", plot_iou_against(fractions, iou, "annotated fraction of the micrograph")
    distances = [one.border_distance for one in measured]
    label = "mean distance of the annotation from the border in pixels"
    yield "iou_against_border_distance.png", plot_iou_against(distances, iou, label)


def example_figures(
    measured: Sequence[MeasuredImage], examples: int, load: Callable[[str], Example]
) -> Iterator[tuple[str, Figure]]:
    """Draw the best, the worst and the most different micrographs, each sheet with its file name.

    For each method, `examples` of the best and of the worst are shown. `load` reads the pictures of a micrograph.
    """
    for method in measured[0].scores:
        ranked = sorted(measured, key=lambda one: (-one.scores[method].iou, one.image))
        for name, chosen in (("best", ranked[:examples]), ("worst", ranked[: -examples - 1 : -1])):
            pictures = [load(one.image) for one in chosen]
            yield f"{name}_{method}.png", plot_examples(pictures, method, f"{name.title()} micrographs, {method}")
    most = max(measured, key=lambda one: (np.ptp([scores.iou for scores in one.scores.values()]), one.image))
    yield "methods_side_by_side.png", plot_methods(load(most.image))


def _show(axes: Axes, image: ImageArray, title: str) -> None:
    show_image(axes, image)
    axes.set_title(plain(title), fontsize=9)
    axes.set_axis_off()


def _explain_errors(figure: Figure) -> None:
    meanings = {
        "true negative": TRUE_NEGATIVE,
        "true positive": TRUE_POSITIVE,
        "false negative (missed)": FALSE_NEGATIVE,
        "false positive (invented)": FALSE_POSITIVE,
    }
    handles = [
        Patch(facecolor=f"#{bytes(colour).hex()}", edgecolor="grey", label=meaning)
        for meaning, colour in meanings.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)


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
    """Show the fraction of islands found in each class of one property, with its interval, for each method."""
    ticks = list(dict.fromkeys((one.low, f"{one.label}\nn = {one.islands}") for one in classes))
    methods = list(dict.fromkeys(one.method for one in classes))
    with _column_figure() as (figure, axes):
        for number, method in enumerate(methods):
            own = [one for one in classes if one.method == method]
            shift = 0.12 * (number - (len(methods) - 1) / 2)
            recall = [one.recall.value for one in own]
            axes.errorbar(
                [place + shift for place in range(len(own))],
                recall,
                yerr=np.abs(np.array([one.recall.bounds or (np.nan, np.nan) for one in own]).T - recall),
                fmt=MARKERS[method],
                color=METHOD_COLOURS[method],
                capsize=2,
                label=method,
            )
        axes.set(xlabel=AXIS_NAMES[classes[0].of], ylabel="fraction of islands found", ylim=(-0.03, 1.03))
        axes.set_xticks(range(len(ticks)), [label for _, label in ticks], fontsize=6)
    return figure


def plot_f1(f1: Sequence[tuple[float, ...]], methods: Sequence[str]) -> Figure:
    """Show how the F1 of the islands falls as they have to be covered better to count as found."""
    thresholds, *scores = zip(*f1, strict=True)
    with _column_figure() as (figure, axes):
        for method, values in zip(methods, scores, strict=True):
            colour, marker = METHOD_COLOURS[method], MARKERS[method]
            axes.plot(thresholds, values, color=colour, marker=marker, label=method)
        axes.set(xlabel="an island is found above this IoU", ylabel="F1 of the islands", ylim=(-0.03, 1.03))
    return figure


def plot_robustness(robustness: Robustness) -> Figure:
    """Show how far the mean IoU drops by each perturbation, with its interval."""
    drops = robustness.drops
    values = [drop.value for drop in drops.values()]
    bounds = np.array([drop.bounds or (drop.value, drop.value) for drop in drops.values()]).T
    with _column_figure() as (figure, axes):
        axes.barh(list(drops), values, xerr=np.abs(bounds - values), color=SKY, capsize=2)
        mean = robustness.drop.value
        axes.axvline(mean, color=BLUE, linestyle=":", label=f"mean {mean:.3f}")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(xlabel="drop of the mean IoU")
        axes.invert_yaxis()
    return figure


def plot_reliability(counts: Values) -> Figure:
    """Show the fraction of foreground against the probability, and below how many pixels each class has."""
    rows = np.array(list(reliability_table(counts)))
    with column_style():
        figure = Figure(figsize=(COLUMN, 3.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        above.plot([0, 1], [0, 1], color="grey", linestyle=":", label="true probabilities")
        error = expected_calibration_error(counts)
        above.plot(rows[:, 0], rows[:, 1], color=BLUE, marker="o", label=f"expected calibration error {error:.3f}")
        above.set(ylabel="fraction annotated as foreground", xlim=(0, 1), ylim=(-0.03, 1.03))
        above.legend()
        below.bar(rows[:, 0], rows[:, 2] / rows[:, 2].sum(), width=0.04, color=SKY)
        below.set(xlabel="predicted probability of foreground", ylabel="fraction of pixels", yscale="log")
        below.yaxis.set_minor_formatter(NullFormatter())
    return figure
