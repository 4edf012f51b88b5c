"""From logits, the raw output of the network, to binary masks, in the two ways of the study."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from microseg.common.files import output_folder
from microseg.common.parallel import map_in_processes
from microseg.common.params import PostprocessParams
from microseg.micrographs.images import write_mask
from microseg.prediction.logits import read_logits, row_chunks

Logits = NDArray[np.floating]
Mask = NDArray[np.bool_]

METHODS = ("sigmoid", "morphology")
"""The two ways, as folders and metrics call them."""


def sigmoid_mask(logits: Logits, threshold: float) -> Mask:
    """Return where the sigmoid of the logits is above `threshold`.

    Args:
        logits: raw network output, any real numbers, of any shape.
        threshold: a probability, above 0 and below 1.
    """
    # The sigmoid grows steadily, so the threshold is taken back through it once instead of every pixel through it.
    return np.asarray(logits, np.float32) > math.log(threshold / (1 - threshold))


def morphological_mask(logits: Logits, threshold: float | str, opening_radius: int, closing_radius: int) -> Mask:
    """Threshold the raw mask, open it, then close it, as the study did instead of a sigmoid.

    Args:
        logits: raw network output, (height, width).
        threshold: the logit above which a pixel is foreground, or "otsu" for the threshold after Otsu (IEEE
            Transactions on Systems, Man, and Cybernetics 9:62, 1979) of this very image; where all logits are
            the same there are no two classes to tell apart, and the mask is empty.
        opening_radius: radius in pixels of the disk that opens the mask (removes what is smaller); 0: no opening.
        closing_radius: radius in pixels of the disk that closes it (fills smaller gaps); 0: no closing.
    """
    values = np.asarray(logits, np.float32)
    limit = otsu_threshold(values) if threshold == "otsu" else float(threshold)
    mask: Mask = values > limit
    return closed(opened(mask, opening_radius), closing_radius)


def opened(mask: Mask, radius: int) -> Mask:
    """Return a mask without what is smaller than the disk of `radius` pixels: erosion, then dilation."""
    return ~eroded(~eroded(mask, radius), radius)


def closed(mask: Mask, radius: int) -> Mask:
    """Return a mask, its gaps filled where the disk of `radius` pixels does not fit in: dilation, then erosion."""
    return eroded(~eroded(~mask, radius), radius)


def eroded(mask: Mask, radius: int) -> Mask:
    """Return where the disk of `radius` pixels, x^2 + y^2 <= radius^2, lies in the mask.

    Beyond the border lies what could not be seen, not background: an island that the border cuts is neither eroded
    there by opening nor joined to the border by closing. This is scikit-image's erosion with mode "ignore", made
    faster: a disk is a stack of rows, and for each longer row only the pixels at its ends are new.
    """
    result, row = mask.copy(), mask.copy()
    reached = 0
    for offset in range(radius, -1, -1):  # from the disk's shortest row to its longest
        longest = math.isqrt(radius**2 - offset**2)
        for reach in range(reached + 1, longest + 1):
            row[:, reach:] &= mask[:, :-reach]
            row[:, :-reach] &= mask[:, reach:]
        reached = longest
        rest = max(0, len(row) - offset)
        result[offset:] &= row[:rest]
        result[:rest] &= row[offset:]
    return result


def otsu_threshold(values: NDArray[np.floating]) -> float:
    """Return the threshold after Otsu of a picture of any numbers, or the number itself where all are the same."""
    lowest, highest = float(values.min()), float(values.max())
    if lowest == highest:
        return highest
    # Counting takes many bytes a pixel: the logits of a mosaic are counted a band at a time.
    # As float32, which NumPy's annotations do not know of, the limits give the very edges that scikit-image has.
    limits = cast("tuple[float, float]", (np.float32(lowest), np.float32(highest)))
    counted = [np.histogram(values[rows].astype(np.float32), 256, limits) for rows in row_chunks(len(values))]
    edges = counted[0][1]
    counts = np.sum([counts for counts, _ in counted], axis=0)
    return float(threshold_otsu(hist=(counts, (edges[:-1] + edges[1:]) / 2)))


def write_predictions(images: Sequence[str], logits: Path, folder: Path, params: PostprocessParams) -> None:
    """Write the masks of `images` into `folder`, in a folder for each of METHODS, from their logits in `logits`.

    Raises:
        InputError: logits are missing or broken.
    """
    with output_folder(folder) as partial_folder:
        for method in METHODS:
            (partial_folder / method).mkdir()
        for _ in map_in_processes(
            partial(_write_both, logits, partial_folder, params), images, "masks from logits"
        ):
            pass


def _write_both(logits_folder: Path, folder: Path, params: PostprocessParams, image: str) -> None:
    logits = read_logits(logits_folder, image)
    masks = {
        "sigmoid": sigmoid_mask(logits, params.sigmoid_threshold),
        "morphology": morphological_mask(
            logits, params.morphology_threshold, params.opening_radius, params.closing_radius
        ),
    }
    for method, mask in masks.items():
        write_mask(folder / method / image, mask)
