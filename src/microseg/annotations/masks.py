"""From polygons to binary masks.

The convention at the boundary: (0, 0) is the centre of the top left pixel, and vertices are rounded to the nearest
pixel centre (halves up). A pixel whose centre lies inside the outline or on it belongs to the island; so do pixels
beside it that the outline only crosses. No pixel whose centre is a whole pixel or more away from the outline is
ever on the wrong side. Where an outline crosses itself the even-odd rule holds; islands that overlap are united,
so a polygon that stands twice in the table changes nothing.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from microseg.annotations.polygons import AnnotatedPolygon, ImageMask


def create_binary_mask(image_mask: ImageMask, height: int, width: int) -> NDArray[np.bool_]:
    """Draw all islands of a micrograph, clipped at its border.

    Args:
        image_mask: the islands.
        height: rows of the micrograph, >= 1.
        width: columns of the micrograph, >= 1.

    Returns:
        A mask (height, width), True inside the islands.
    """
    mask = np.zeros((height, width), np.uint8)
    # Pillow draws straight into the array: fetching new memory for a picture of its own and for a copy of it would
    # take several times as long as the drawing.
    canvas = Image.frombuffer("L", (width, height), mask, "raw", "L", 0, 1)
    canvas.readonly = 0
    draw = ImageDraw.Draw(canvas)
    for polygon in image_mask.polygons:
        # Pillow would cut fractions off, towards zero: a shift of the island. Its fill includes the outline.
        draw.polygon(np.floor(polygon.nodes + 0.5).ravel().tolist(), fill=1)
    return mask.view(np.bool_)


def reaches_outside(polygon: AnnotatedPolygon, height: int, width: int) -> float:
    """Return how many pixels a polygon reaches beyond the outermost pixel centres, 0 where it does not."""
    lowest, highest = polygon.nodes.min(axis=0), polygon.nodes.max(axis=0)
    beyond = max(*(-lowest), *(highest - (width - 1, height - 1)))
    return max(0.0, float(beyond))
