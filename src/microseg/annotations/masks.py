"""From polygons to binary masks.

The convention at the boundary: (0, 0) is the center of the top left pixel, and vertices are rounded to the nearest
pixel center (halves up). Pixels with their center inside or on the outline belong to the island, and so do pixels
beside it that the outline only crosses. No pixel whose center is a whole pixel or more away from the outline is on
the wrong side. If an outline crosses itself, the even-odd rule applies. Islands that overlap are united, so a
polygon that is listed twice changes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from microseg.annotations.issues import Issue
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask
from microseg.common.parallel import map_in_processes
from microseg.micrographs.images import image_size, write_mask

OVERLAP = "overlap"

Corners = NDArray[np.float64]
"""Corners (x, y) of boxes."""


def create_binary_mask(image_mask: ImageMask, height: int, width: int) -> NDArray[np.bool_]:
    """Draw all islands of a micrograph of `height` rows and `width` columns, clipped at its border.

    Returns:
        A mask (height, width), True inside the islands.
    """
    mask = np.zeros((height, width), np.uint8)
    # Pillow draws straight into the array: allocating an image of its own and copying it would take several times
    # as long as the drawing.
    canvas = Image.frombuffer("L", (width, height), mask, "raw", "L", 0, 1)
    canvas.readonly = 0
    draw = ImageDraw.Draw(canvas)
    for polygon in image_mask.polygons:
        # Pillow truncates fractions towards zero, which would shift the island. Its fill includes the outline.
        draw.polygon(np.floor(polygon.nodes + 0.5).ravel().tolist(), fill=1)
    return mask.view(np.bool_)


@dataclass(frozen=True)
class MaskSummary:
    """What is known about one mask: size, foreground fraction, number of clipped polygons, and overlaps."""

    image: str
    height: int
    width: int
    foreground_fraction: float
    clipped: int
    overlaps: list[Issue]


def rasterize_masks(image_masks: Sequence[ImageMask], images: Path, folder: Path) -> Iterator[MaskSummary]:
    """Write a mask for each micrograph into the existing `folder`, and yield its summary, in the same order.

    Masks have the names and sizes of the `images`, of which only the headers are read.

    Raises:
        InputError: an image is missing or its header cannot be read.
    """
    yield from map_in_processes(partial(_write_mask, images, folder), image_masks, "drawing masks")


def _write_mask(images: Path, folder: Path, image_mask: ImageMask) -> MaskSummary:
    height, width = image_size(images / image_mask.img_name)
    mask = create_binary_mask(image_mask, height, width)
    write_mask(folder / image_mask.img_name, mask)
    clipped = sum(reaches_outside(polygon, height, width) > 0 for polygon in image_mask.polygons)
    overlaps = list(find_overlaps(image_mask, height, width))
    return MaskSummary(image_mask.img_name, height, width, np.count_nonzero(mask) / mask.size, clipped, overlaps)


def reaches_outside(polygon: AnnotatedPolygon, height: int, width: int) -> float:
    """Return how many pixels a polygon reaches beyond the outermost pixel centers, 0 if it does not."""
    lowest, highest = polygon.nodes.min(axis=0), polygon.nodes.max(axis=0)
    beyond = max(*(-lowest), *(highest - (width - 1, height - 1)))
    return max(0.0, float(beyond))


def find_overlaps(image_mask: ImageMask, height: int, width: int) -> Iterator[Issue]:
    """Find all pairs of polygons that share pixels, and how many, in a micrograph of `height` x `width` pixels."""
    polygons = image_mask.polygons
    # What is drawn reaches as far as the rounded vertices.
    rounded = [np.floor(polygon.nodes + 0.5) for polygon in polygons]
    lows = np.array([vertices.min(axis=0) for vertices in rounded]).reshape(-1, 2)
    highs = np.array([vertices.max(axis=0) for vertices in rounded]).reshape(-1, 2)
    for first, second in _touching_pairs(lows, highs):
        low = np.maximum(np.maximum(lows[first], lows[second]), 0)
        high = np.minimum(np.minimum(highs[first], highs[second]), (width - 1, height - 1))
        if (low > high).any():
            continue
        shared = _shared_pixels(polygons[first], polygons[second], low, high)
        if shared:
            detail = f"shares {shared} pixels with {polygons[first].place}"
            yield Issue(OVERLAP, image_mask.img_name, polygons[second].line, detail)


def _touching_pairs(lows: Corners, highs: Corners) -> list[tuple[int, int]]:
    """Return all pairs of n boxes, given by their corners (n, 2), that touch: the earlier one first, sorted."""
    boxes = shapely.box(lows[:, 0], lows[:, 1], highs[:, 0], highs[:, 1])
    pairs = shapely.STRtree(boxes).query(boxes).T
    return sorted((first, second) for first, second in pairs.tolist() if first < second)


def _shared_pixels(one: AnnotatedPolygon, other: AnnotatedPolygon, low: Corners, high: Corners) -> int:
    """Return how many pixels two polygons share between two corners (x, y)."""
    columns, rows = (high - low + 1).astype(int).tolist()
    first, second = (
        create_binary_mask(ImageMask("", [AnnotatedPolygon(polygon.center, polygon.nodes - low)]), rows, columns)
        for polygon in (one, other)
    )
    return int((first & second).sum())


def mask_metrics(summaries: Sequence[MaskSummary]) -> dict[str, Any]:
    """Return summary numbers of one or more masks."""
    sizes = Counter((summary.height, summary.width) for summary in summaries)
    fractions = np.array([summary.foreground_fraction for summary in summaries])
    return {
        "masks": len(summaries),
        "foreground_fraction": {
            "min": float(fractions.min()),
            "mean": float(fractions.mean()),
            "max": float(fractions.max()),
        },
        "empty_masks": int((fractions == 0).sum()),
        "image_sizes": {f"{width} x {height}": number for (height, width), number in sorted(sizes.items())},
        "clipped_polygons": sum(summary.clipped for summary in summaries),
        "overlapping_pairs": sum(len(summary.overlaps) for summary in summaries),
        "images_with_overlaps": sum(bool(summary.overlaps) for summary in summaries),
    }
