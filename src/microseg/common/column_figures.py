"""Figures as wide as one column of a journal: how they look, and how they are saved, as pixels and as vectors."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from microseg.common.figure_style import save_figure

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
