"""Polygons and masks, each into the other, and what in the annotations is wrong or odd."""
