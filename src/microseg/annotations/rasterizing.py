"""From the polygons of all micrographs to the folder of masks, on all cores, one micrograph in memory each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from microseg.annotations.findings import Finding
from microseg.annotations.masks import create_binary_mask, reaches_outside
from microseg.annotations.overlaps import find_overlaps
from microseg.annotations.polygons import ImageMask
from microseg.common.parallel import map_in_processes
from microseg.micrographs.images import image_size, write_mask


@dataclass(frozen=True)
class MaskSummary:
    """What is known of one mask: size, share of foreground, polygons that the border cuts, and overlaps."""

    image: str
    height: int
    width: int
    foreground_fraction: float
    clipped: int
    overlaps: list[Finding]


def write_masks(image_masks: Sequence[ImageMask], images: Path, folder: Path) -> Iterator[MaskSummary]:
    """Write a mask for each micrograph of `image_masks` into the existing `folder`, of the size of its image.

    Args:
        image_masks: the polygons.
        images: the folder of the micrographs, of which only the sizes are read.
        folder: where the masks go, under the names of the images.

    Yields:
        The summary of each mask, in the order of `image_masks`.

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


def mask_metrics(summaries: Sequence[MaskSummary]) -> dict[str, Any]:
    """Return the numbers that stand for at least one mask."""
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
