"""Pictures of predicted masks and of how good they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from microseg.common.column_figures import COLUMN, column_style
from microseg.common.figure_style import Picture, show_picture
from microseg.evaluation.scores import MeasuredImage, calculate_iou

Mask = NDArray[np.bool_]

TRUE_NEGATIVE, TRUE_POSITIVE = (0, 0, 0), (255, 255, 255)
FALSE_NEGATIVE, FALSE_POSITIVE = (255, 0, 255), (0, 255, 255)
METHOD_COLOURS = {"sigmoid": "#0072B2", "morphology": "#D55E00"}
"""Blue and vermilion of Okabe and Ito, which colour-blind readers tell apart."""


@dataclass(frozen=True)
class Example:
    """One micrograph to show: grey values 0 to 255, its truth, and a mask for each method, all (height, width)."""

    name: str
    micrograph: NDArray[np.uint8]
    truth: Mask
    predictions: Mapping[str, Mask]


def graph_iou(truth: Mask, prediction: Mask) -> NDArray[np.uint8]:
    """Colour each pixel by how prediction and truth agree.

    Returns:
        (height, width, 3) of 0 to 255: true negatives black, true positives white, false negatives magenta, false
        positives cyan.
    """
    colours = np.full((*truth.shape, 3), TRUE_NEGATIVE, np.uint8)
    colours[truth & prediction] = TRUE_POSITIVE
    colours[truth & ~prediction] = FALSE_NEGATIVE
    colours[prediction & ~truth] = FALSE_POSITIVE
    return colours


def plot_examples(examples: Sequence[Example], method: str, title: str) -> Figure:
    """Show a row for each example: micrograph, truth, the prediction of `method`, and the error map."""
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


def plot_iou_distribution(iou: Mapping[str, Sequence[float]]) -> Figure:
    """Show how the IoU of the micrographs is distributed, the methods beside each other in 20 classes."""
    with column_style():
        figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
        axes = figure.subplots()
        axes.hist(
            list(iou.values()),
            bins=list(np.linspace(0, 1, 21)),
            label=[f"{method}, mean {np.mean(values):.3f}" for method, values in iou.items()],
            color=[METHOD_COLOURS[method] for method in iou],
        )
        axes.set(xlabel="IoU of a micrograph", ylabel="micrographs", xlim=(0, 1))
        figure.legend(loc="outside upper center", ncols=len(iou))
    return figure


def plot_iou_against(values: Sequence[float], iou: Mapping[str, Sequence[float]], label: str) -> Figure:
    """Show each micrograph's IoU against another property of it, one mark a method; NaN values are left out."""
    with column_style():
        figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
        axes = figure.subplots()
        for (method, one_iou), marker in zip(iou.items(), "ox", strict=False):
            axes.scatter(values, one_iou, label=method, color=METHOD_COLOURS[method], marker=marker, s=12)
        axes.set(xlabel=label, ylabel="IoU of a micrograph", ylim=(-0.03, 1.03))
        figure.legend(loc="outside upper center", ncols=len(iou))
    return figure


def iou_figures(measured: Sequence[MeasuredImage]) -> Iterator[tuple[str, Figure]]:
    """Draw the IoU of at least one micrograph in figures of one column, each with its file name."""
    iou = {method: [one.scores[method].iou for one in measured] for method in measured[0].scores}
    yield "iou_distribution.png", plot_iou_distribution(iou)
    fractions = [one.foreground_fraction for one in measured]
    yield "iou_against_foreground.png", plot_iou_against(fractions, iou, "annotated share of the micrograph")
    distances = [one.border_distance for one in measured]
    label = "mean distance of the annotation from the border in pixels"
    yield "iou_against_border_distance.png", plot_iou_against(distances, iou, label)


def example_figures(
    measured: Sequence[MeasuredImage], examples: int, load: Callable[[str], Example]
) -> Iterator[tuple[str, Figure]]:
    """Draw the best, the worst and the most different of at least one micrograph, each sheet with its file name.

    Args:
        measured: the scores of all micrographs.
        examples: how many of the best and of the worst micrographs to show for each method.
        load: reads the pictures of the micrograph of a given name.
    """
    for method in measured[0].scores:
        ranked = sorted(measured, key=lambda one: (-one.scores[method].iou, one.image))
        for name, chosen in (("best", ranked[:examples]), ("worst", ranked[: -examples - 1 : -1])):
            pictures = [load(one.image) for one in chosen]
            yield f"{name}_{method}.png", plot_examples(pictures, method, f"{name.title()} micrographs, {method}")
    most = max(measured, key=lambda one: (np.ptp([scores.iou for scores in one.scores.values()]), one.image))
    yield "methods_side_by_side.png", plot_methods(load(most.image))


def _show(axes: Axes, picture: Picture, title: str) -> None:
    show_picture(axes, picture)
    axes.set_title(title, fontsize=9)
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
