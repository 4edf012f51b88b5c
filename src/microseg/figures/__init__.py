"""Pictures of every stage, drawn with matplotlib's own objects: no global state, no window."""

from microseg.figures.annotations import plot_image_and_mask

__all__ = ["plot_image_and_mask"]
