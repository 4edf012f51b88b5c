"""Where two polygons of one micrograph claim the same pixels."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from microseg.annotations.findings import Finding
from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask

OVERLAP = "overlap"


def find_overlaps(image_mask: ImageMask, height: int, width: int) -> Iterator[Finding]:
    """Find every two polygons that share pixels, and how many, in a micrograph of `height` x `width` pixels."""
    corners = [(polygon.nodes.min(axis=0), polygon.nodes.max(axis=0)) for polygon in image_mask.polygons]
    for (first, (first_low, first_high)), (second, (second_low, second_high)) in combinations(
        zip(image_mask.polygons, corners, strict=True), 2
    ):
        low = np.maximum(np.maximum(first_low, second_low), 0)
        high = np.minimum(np.minimum(first_high, second_high), (width - 1, height - 1))
        if (low > high).any():
            continue
        origin = np.floor(low)
        columns, rows = (np.ceil(high) - origin + 1).astype(int).tolist()
        one, other = (
            create_binary_mask(ImageMask("", [_moved(polygon, origin)]), rows, columns)
            for polygon in (first, second)
        )
        shared = int((one & other).sum())
        if shared:
            detail = f"shares {shared} pixels with line {first.line}"
            yield Finding(OVERLAP, image_mask.img_name, second.line, detail)


def _moved(polygon: AnnotatedPolygon, origin: np.ndarray[tuple[int], np.dtype[np.float64]]) -> AnnotatedPolygon:
    return AnnotatedPolygon(polygon.center, polygon.nodes - origin)
