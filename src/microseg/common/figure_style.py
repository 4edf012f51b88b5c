"""How all pictures are saved, and colours that colour-blind readers tell apart (Okabe and Ito)."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, VERMILION, ORANGE, SKY = "#0072B2", "#D55E00", "#E69F00", "#56B4E9"
DOTS_PER_INCH = 100


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure as PNG; the same figure gives the same bytes, without date or version of the software."""
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
