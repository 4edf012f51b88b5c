"""How figures look and how they are saved: colours, downsampled pictures, and the width of a journal column."""

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

Picture = NDArray[np.uint8] | NDArray[np.bool_]
"""Grey values 0 to 255 or a mask, (height, width), or colours, (height, width, 3) of 0 to 255."""

BLUE, VERMILION, ORANGE, SKY = "#0072B2", "#D55E00", "#E69F00", "#56B4E9"
DOTS_PER_INCH = 100


def save_figure(figure: Figure, path: Path, dots_per_inch: int = DOTS_PER_INCH) -> None:
    """Save a figure as PNG; the same figure gives the same bytes, without date or version of the software."""
    figure.set_dpi(dots_per_inch)
    # Figure.savefig would draw the figure twice, the first time only to find the place of its parts.
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]


def show_picture(axes: Axes, picture: Picture, left: int = 0, top: int = 0) -> None:
    """Show a picture, reduced to about the pixels that the figure has for it.

    The coordinates of the axes are pixels of the micrograph, whatever the reduction; `left` and `top` are the
    column and the row in it of the first pixel of `picture`.
    """
    height, width = picture.shape[:2]
    factor = shrink_factor(axes, height, width)
    shown = shrink(picture, factor)
    right, bottom = left + factor * shown.shape[1], top + factor * shown.shape[0]
    axes.imshow(
        shown,
        cmap="gray",
        vmin=0,
        vmax=1 if picture.dtype == bool else 255,
        # What is left to reduce, by less than two, is blended as well: no pixel is left out.
        interpolation="antialiased",
        extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5),
    )
    axes.set_xlim(left - 0.5, left + width - 0.5)
    axes.set_ylim(top + height - 0.5, top - 0.5)


def shrink_factor(axes: Axes, height: int, width: int) -> int:
    """Return how many pixels of a picture, in each direction, can share one that still fills the figure."""
    figure, place = axes.get_figure(root=True), axes.get_subplotspec()
    if figure is None or place is None:
        return 1
    rows, columns = place.get_gridspec().get_geometry()
    across, down = figure.get_size_inches() * DOTS_PER_INCH / (columns, rows)
    # A picture keeps its proportions: the side that has less room decides.
    return max(1, int(max(width / across, height / down)))


def shrink(picture: Picture, factor: int) -> Picture:
    """Return a picture with one pixel for each square of `factor` x `factor` pixels, smaller at the far borders.

    Grey values are averaged, so that noise does not turn into patterns. A mask is foreground wherever the square
    has any: averaged, thin islands would fade. Colours are averaged over the pixels that are not black, the
    background of an error map: thin errors keep their colour, too.
    """
    if factor == 1:
        return picture
    if picture.dtype == bool:
        return combine_squares(np.logical_or, picture, factor, bool)
    if picture.ndim == 3:
        counted = (picture[..., :1] | picture[..., 1:2] | picture[..., 2:]) > 0
    else:
        counted = np.ones(picture.shape, bool)
    counts = combine_squares(np.add, counted, factor, np.uint32)
    means = combine_squares(np.add, picture, factor, np.uint32) / np.maximum(counts, 1)
    return np.asarray(np.rint(means), np.uint8)


def combine_squares(
    combine: np.ufunc, values: NDArray[Any], factor: int, kind: type[bool | np.uint32]
) -> NDArray[Any]:
    """Combine the values in each square of `factor` x `factor` pixels, as numbers of `kind`."""
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        combined = lines[::factor].astype(kind)
        for offset in range(1, factor):
            others = lines[offset::factor]
            combine(combined[: len(others)], others, out=combined[: len(others)])
        values = np.moveaxis(combined, 0, axis)
    return values


COLUMN = 3.4
"""Width in inches of one column of a journal, 86 mm."""
COLUMN_DOTS_PER_INCH = 300


def column_style() -> AbstractContextManager[None]:
    """Return a context in which figures are drawn that are legible at the width of one column."""
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


def save_column_figure(figure: Figure, path: Path) -> None:
    """Save a figure of one column as PNG at `path`, and as SVG and PDF beside it, always as the same bytes."""
    save_figure(figure, path, COLUMN_DOTS_PER_INCH)
    # The parts have their places now, the same in all three files.
    figure.set_layout_engine("none")
    # What the PDF's fonts are cut down to is of no interest to who reads the log of a stage.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    # Text stays text, and what names the parts of an SVG does not change from run to run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "microseg", "pdf.fonttype": 42}):
        figure.savefig(path.with_suffix(".svg"), format="svg", metadata={"Date": None, "Creator": None})
        undated = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(path.with_suffix(".pdf"), format="pdf", metadata=undated)
