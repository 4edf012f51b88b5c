"""Polygons and masks, conversion between them, and issues in the annotations."""
