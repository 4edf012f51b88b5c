"""Saving figures and showing images in them: colors, downsampling, and the width of a journal column."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

ImageArray = NDArray[np.uint8] | NDArray[np.bool_]
"""Grey values 0 to 255 or a mask, (height, width), or colors, (height, width, 3) of 0 to 255."""

BLUE, VERMILION, ORANGE, SKY = "#0072B2", "#D55E00", "#E69F00", "#56B4E9"
DOTS_PER_INCH = 100

COLUMN = 3.4
"""Width of one column of a journal in inches (86 mm)."""
COLUMN_DOTS_PER_INCH = 300


def save_figure(figure: Figure, path: Path, dots_per_inch: int = DOTS_PER_INCH) -> None:
    """Save a figure as PNG without date or software version: the same figure gives the same bytes."""
    figure.set_dpi(dots_per_inch)
    # Figure.savefig would draw the figure twice, the first time only to lay it out.
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]


def plain(name: str) -> str:
    """Return a name from the user's data as matplotlib text: dollar signs start no formula, and a legend shows it.

    A legend leaves out labels that begin with an underscore, which a zero-width space avoids.
    """
    escaped = name.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{escaped}" if escaped.startswith("_") else escaped


def column_style() -> AbstractContextManager[None]:
    """Return a context for drawing figures that are legible at the width of one column."""
    return rc_context(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "lines.linewidth": 1.2,
            "lines.markersize": 4,
        }
    )


def save_column_figure(figure: Figure, path: Path, vectors: Path) -> None:
    """Save a figure of one column as PNG at `path`, and as SVG and PDF in `vectors`; always the same bytes.

    `vectors` is another folder because `dvc plots` shows every file of a folder of plots.
    """
    save_figure(figure, path, COLUMN_DOTS_PER_INCH)
    # Everything is laid out now and stays there, the same in all three files.
    figure.set_layout_engine("none")
    # The log of a stage need not list the fonts that are subset for the PDF.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    # Text stays text, and the ids in an SVG do not change from run to run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "microseg", "pdf.fonttype": 42}):
        figure.savefig(vectors / f"{path.stem}.svg", format="svg", metadata={"Date": None, "Creator": None})
        undated = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(vectors / f"{path.stem}.pdf", format="pdf", metadata=undated)


def show_image(axes: Axes, image: ImageArray, left: int = 0, top: int = 0) -> None:
    """Show an image, downsampled to about the pixels that the figure has for it.

    The coordinates of the axes are pixels of the micrograph, whatever the downsampling.

    Args:
        axes: a subplot of a grid.
        image: the micrograph, or a part of it.
        left: the column of the micrograph that is the first one of `image`.
        top: the row of the micrograph that is the first one of `image`.
    """
    height, width = image.shape[:2]
    factor = _downsampling_factor(axes, height, width)
    shown = downsample(image, factor)
    right, bottom = left + factor * shown.shape[1], top + factor * shown.shape[0]
    axes.imshow(
        shown,
        cmap="gray",
        vmin=0,
        vmax=1 if image.dtype == bool else 255,
        # The remaining reduction, by a factor below two, averages pixels too instead of dropping some.
        interpolation="antialiased",
        extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5),
    )
    axes.set_xlim(left - 0.5, left + width - 0.5)
    axes.set_ylim(top + height - 0.5, top - 0.5)


def _downsampling_factor(axes: Axes, height: int, width: int) -> int:
    """Return how many pixels, in each direction, can become one that still fills the figure."""
    figure, cell = axes.get_figure(root=True), axes.get_subplotspec()
    if figure is None or cell is None:
        return 1
    rows, columns = cell.get_gridspec().get_geometry()
    across, down = figure.get_size_inches() * DOTS_PER_INCH / (columns, rows)
    # Images keep their aspect ratio: the tighter side decides.
    return max(1, int(max(width / across, height / down)))


def downsample(image: ImageArray, factor: int) -> ImageArray:
    """Return an image with one pixel for each block of `factor` x `factor` pixels, smaller at the far borders.

    Grey values are averaged, so that noise does not alias. A block of a mask is foreground if any of its pixels
    is: averaged, thin islands would fade. Colors are averaged over the pixels that are not black, the background
    of an error map, so that thin errors keep their color, too.
    """
    if factor == 1:
        return image
    if image.dtype == bool:
        return _combine_blocks(np.logical_or, image, factor)
    counted = image.any(axis=2, keepdims=True) if image.ndim == 3 else np.ones(image.shape, bool)
    sums, counts = (_combine_blocks(np.add, np.asarray(one, np.uint32), factor) for one in (image, counted))
    return np.asarray(np.rint(sums / np.maximum(counts, 1)), np.uint8)


def _combine_blocks(combine: np.ufunc, values: NDArray[Any], factor: int) -> NDArray[Any]:
    """Combine the values in each block of `factor` x `factor` pixels."""
    for axis in (0, 1):
        values = combine.reduceat(values, np.arange(0, values.shape[axis], factor), axis=axis)
    return values
