"""Everything that is drawn with matplotlib."""

from microseg.figures.annotations import plot_image_and_mask
from microseg.figures.evaluation import graph_iou

__all__ = ["graph_iou", "plot_image_and_mask"]
