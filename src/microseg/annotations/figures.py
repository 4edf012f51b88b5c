"""Figures of the annotations: polygons, masks, their distributions, and the issues."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from microseg.annotations.issues import count
from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, most_annotated
from microseg.annotations.quality import KINDS, MOST_ANNOTATED, CheckedAnnotations
from microseg.plotting import BLUE, ORANGE, plain, show_image

Micrograph = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Values = Sequence[float] | NDArray[np.integer] | NDArray[np.floating]

# Pixels shown around a single polygon, so that its outline does not touch the frame.
MARGIN = 5


def annotation_figures(checked: CheckedAnnotations) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of annotations with one or more polygons, each with its file name."""
    counts = most_annotated(checked.masks, MOST_ANNOTATED)
    yield "most_annotated.png", plot_counts(counts, "The most annotated micrographs", "annotated islands", BLUE)
    distributions: list[tuple[str, Values, str, str]] = [
        ("polygons_per_image", [len(mask) for mask in checked.masks], "islands of a micrograph", "micrographs"),
        ("vertices_per_polygon", checked.shapes.vertices, "vertices of a polygon", "polygons"),
        ("polygon_area", checked.shapes.areas, "area of a polygon in square pixels", "polygons"),
    ]
    for name, values, label, unit in distributions:
        yield f"{name}.png", plot_distribution(values, label, unit)
    counts = [(kind.replace("_", " "), number) for kind, number in count(checked.issues, KINDS).items()]
    yield "issues.png", plot_counts(counts, "Issues in the annotations", "places to look at", ORANGE)


def plot_counts(counts: Sequence[tuple[str, int]], title: str, label: str, color: str) -> Figure:
    """Show what is counted as bars, given as (name, number): for micrographs and islands, the study's Figure 1."""
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(counts)), layout="constrained")
    axes = figure.subplots()
    names, numbers = [plain(name) for name, _ in counts], [number for _, number in counts]
    axes.bar_label(axes.barh(names, numbers, color=color), padding=3)
    axes.invert_yaxis()
    axes.set(xlabel=label, title=title)
    return figure


def plot_distribution(values: Values, label: str, unit: str) -> Figure:
    """Show a histogram: `label` names the values, `unit` what is counted."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    array = np.asarray(values)
    if array.dtype.kind in "iu" and np.ptp(array) < 60:
        edges = np.arange(array.min(), array.max() + 2) - 0.5
        axes.hist(array, bins=list(edges), color=BLUE, edgecolor="white")
    else:
        axes.hist(array, bins=60, color=BLUE)
    axes.set(xlabel=label, ylabel=unit, title=f"Distribution of the {label}")
    return figure


def mask_figures(
    image_masks: Sequence[ImageMask], fractions: Sequence[float], load: Callable[[str], Micrograph]
) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of the masks, each with its file name.

    `image_masks` are one or more examples, each with one or more polygons, of which the first is shown large;
    `fractions` are the foreground fractions of all masks; `load` reads the micrograph of a name.
    """
    images = [load(mask.img_name) for mask in image_masks]
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    masks = [create_binary_mask(mask, *size) for mask, size in zip(image_masks, sizes, strict=True)]
    names = [mask.img_name for mask in image_masks]
    yield "micrographs_and_masks.png", plot_sheet(list(zip(names, images, masks, strict=True)))
    yield "polygon.png", plot_polygon(image_masks[0][0], sizes[0], f"One island of {names[0]}")
    yield "annotated_micrograph.png", plot_image_and_mask(images[0], image_masks[0])
    yield "foreground_fraction.png", plot_distribution(fractions, "foreground fraction", "micrographs")


def plot_sheet(examples: Sequence[tuple[str, Micrograph, Mask]]) -> Figure:
    """Show micrographs beside their masks, one row for each (name, micrograph, mask): the study's Figure 7."""
    figure = Figure(figsize=(8, 0.6 + 3.1 * len(examples)), layout="constrained")
    rows = figure.subplots(len(examples), 2, squeeze=False)
    for (left, right), (name, image, mask) in zip(rows, examples, strict=True):
        _show(left, image)
        _show(right, mask)
        left.set_title(plain(name), fontsize=9)
        right.set_title(f"mask, {mask.mean():.1%} of the micrograph", fontsize=9)
    return figure


def plot_polygon(polygon: AnnotatedPolygon, size: tuple[int, int], title: str) -> Figure:
    """Show the vertices of one polygon beside the shape it fills in a mask of `size`: the study's Figure 4."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    points, shape = figure.subplots(1, 2)
    mask = create_binary_mask(ImageMask("", [polygon]), *size)
    x, y = polygon.nodes.T
    points.plot(x, y, "o", color=BLUE, markersize=4, label=f"{len(polygon)} vertices")
    points.plot(*polygon.center, "x", color=ORANGE, markersize=9, label="point of the island")
    figure.legend(loc="outside lower center", ncols=2)
    points.set(title="vertices", xlabel="x in pixels", ylabel="y in pixels", aspect="equal")
    left, top = np.clip(polygon.nodes.min(axis=0) - MARGIN, 0, (size[1] - 1, size[0] - 1)).astype(int)
    right, bottom = np.maximum(polygon.nodes.max(axis=0) + MARGIN, 0).astype(int) + 1
    show_image(shape, mask[top:bottom, left:right], left, top)
    shape.set(title="filled shape", xlabel="x in pixels")
    for axes in (points, shape):
        axes.set_xlim(x.min() - MARGIN, x.max() + MARGIN)
        axes.set_ylim(y.max() + MARGIN, y.min() - MARGIN)
    figure.suptitle(plain(title))
    return figure


def plot_image_and_mask(image: Micrograph, image_mask: ImageMask) -> Figure:
    """Show a micrograph, grey values (height, width), with all its polygons on it: the study's Figure 5."""
    figure = Figure(figsize=(10, 1 + 9 * image.shape[0] / image.shape[1]), layout="constrained")
    axes = figure.subplots()
    _show(axes, image)
    for polygon in image_mask.polygons:
        axes.add_patch(Polygon(polygon.nodes, facecolor=to_rgba(ORANGE, 0.25), edgecolor=ORANGE, linewidth=1.2))
        axes.plot(*polygon.center, "x", color=ORANGE)
    # An outline may reach outside; the figure ends at the border of the micrograph.
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)
    axes.set_title(plain(f"{image_mask.img_name}, {len(image_mask)} annotated islands"))
    return figure


def _show(axes: Axes, image: Micrograph | Mask) -> None:
    show_image(axes, image)
    axes.set_axis_off()
