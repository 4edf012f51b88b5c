"""From a mask to polygons that give exactly that mask when they are drawn.

Each connected region (corners connect) is traced along the centres of its outermost pixels. One outline cannot
say everything: a region with a hole, or with a neck so thin that the outline runs back over itself, is drawn with
wrong pixels. It is cut in two through the wrong pixels, as often as it takes; the pieces touch without overlap.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours, label, regionprops

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import FEWEST_VERTICES, AnnotatedPolygon, ImageMask

Mask = NDArray[np.bool_]
Nodes = NDArray[np.float64]

# Just below the value of the foreground: contours run as close to the foreground's pixel centres as can be.
CONTOUR_LEVEL = 0.99


def trace_mask(mask: Mask) -> Iterator[Nodes]:
    """Yield outlines (n, 2) of (x, y) whose drawing by `create_binary_mask` is `mask` (height, width) again."""
    for region in regionprops(label(mask, connectivity=2)):
        top, left = region.bbox[:2]
        for nodes in _trace_region(region.image):
            yield nodes + np.array([left, top])


def _trace_region(region: Mask) -> Iterator[Nodes]:
    nodes = _outline(region)
    drawn = create_binary_mask(ImageMask("", [AnnotatedPolygon(nodes[0], nodes)]), *region.shape)
    wrong_rows = np.flatnonzero((drawn != region).any(axis=1))
    if not len(wrong_rows):
        yield nodes
        return
    # A single row is one run of pixels, always drawn as it is: there are two rows at least to cut between.
    cut = min(int(wrong_rows[len(wrong_rows) // 2]), len(region) - 2) + 1
    for first_row, piece in ((0, region[:cut]), (cut, region[cut:])):
        for nodes in trace_mask(piece):
            yield nodes + np.array([0, first_row])


def _outline(region: Mask) -> Nodes:
    """Follow the outermost pixels of one connected region; corners only, but at least three vertices."""
    contours = find_contours(np.pad(region, 1).astype(np.float64), CONTOUR_LEVEL, fully_connected="high")
    outermost = max(contours, key=len)
    pixels = np.rint(outermost[:, ::-1]) - 1
    pixels = pixels[(pixels != np.roll(pixels, 1, axis=0)).any(axis=1)]
    steps = np.roll(pixels, -1, axis=0) - pixels
    corners = pixels[(steps != np.roll(steps, 1, axis=0)).any(axis=1)]
    if not len(corners):
        corners = np.argwhere(region)[:1, ::-1].astype(np.float64)
    missing = max(0, FEWEST_VERTICES - len(corners))
    return np.concatenate([corners, corners[-1:].repeat(missing, axis=0)])
