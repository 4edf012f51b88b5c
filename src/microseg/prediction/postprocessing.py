"""From logits, the raw output of the network, to binary masks, by the two methods of the study."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from microseg.common.files import output_folder, write_json
from microseg.common.parallel import map_in_processes
from microseg.common.params import PostprocessParams
from microseg.micrographs.images import write_mask
from microseg.prediction.logits import SETTINGS_FILE, read_logits, read_settings, row_chunks

Logits = NDArray[np.floating]
Mask = NDArray[np.bool_]

METHODS = ("sigmoid", "morphology")
"""The names of the two methods, in folders and metrics."""


def sigmoid_mask(logits: Logits, threshold: float) -> Mask:
    """Return where the sigmoid of the logits, of any shape, is above `threshold`, a probability."""
    # The sigmoid is monotonic: inverting it once for the threshold replaces computing it for every pixel.
    return np.asarray(logits, np.float32) > math.log(threshold / (1 - threshold))


def morphological_mask(logits: Logits, threshold: float | str, opening_radius: int, closing_radius: int) -> Mask:
    """Threshold the logits, then open and close the mask: the study's alternative to the sigmoid.

    Args:
        logits: raw network output, (height, width).
        threshold: the logit above which a pixel is foreground, or "otsu" for Otsu's threshold (IEEE Transactions
            on Systems, Man, and Cybernetics 9:62, 1979) of this image, which splits the background in two where
            there is no island.
        opening_radius: pixels, of the disk of the opening, which removes smaller islands; 0: no opening.
        closing_radius: pixels, of the disk of the closing, which fills smaller gaps; 0: no closing.
    """
    values = np.asarray(logits, np.float32)
    limit = otsu_threshold(values) if threshold == "otsu" else float(threshold)
    mask: Mask = values > limit
    return binary_closing(binary_opening(mask, opening_radius), closing_radius)


def binary_opening(mask: Mask, radius: int) -> Mask:
    """Return a mask without islands narrower than the disk of `radius` pixels: erosion, then dilation."""
    return ~binary_erosion(~binary_erosion(mask, radius), radius)


def binary_closing(mask: Mask, radius: int) -> Mask:
    """Return a mask without gaps narrower than the disk of `radius` pixels: dilation, then erosion."""
    return binary_erosion(~binary_erosion(~mask, radius), radius)


def binary_erosion(mask: Mask, radius: int) -> Mask:
    """Return where the disk of `radius` pixels, x^2 + y^2 <= radius^2, lies in the mask.

    Pixels beyond the border are unknown, not background: opening does not erode an island that the border cuts.
    This is a faster version of scikit-image's erosion with mode "ignore": a disk is a stack of rows, and each
    longer row adds only the pixels at its ends.
    """
    result, row = mask.copy(), mask.copy()
    done = 0
    for offset in range(radius, -1, -1):  # from the disk's shortest row to its longest
        half_length = math.isqrt(radius**2 - offset**2)
        for reach in range(done + 1, half_length + 1):
            row[:, reach:] &= mask[:, :-reach]
            row[:, :-reach] &= mask[:, reach:]
        done = half_length
        rest = max(0, len(row) - offset)
        result[offset:] &= row[:rest]
        result[:rest] &= row[offset:]
    return result


def otsu_threshold(values: NDArray[np.floating]) -> float:
    """Return Otsu's threshold of an image of any numbers, or the number itself if all are equal."""
    lowest, highest = float(values.min()), float(values.max())
    if lowest == highest:
        return highest
    # A histogram takes many bytes a pixel: that of a mosaic is computed a band of rows at a time. Limits in
    # float32, which NumPy's annotations do not allow, give exactly the edges of scikit-image.
    limits = cast("tuple[float, float]", (np.float32(lowest), np.float32(highest)))
    counted = [np.histogram(values[rows].astype(np.float32), 256, limits) for rows in row_chunks(len(values))]
    edges = counted[0][1]
    counts = np.sum([counts for counts, _ in counted], axis=0)
    return float(threshold_otsu(hist=(counts, (edges[:-1] + edges[1:]) / 2)))


def write_predictions(images: Sequence[str], logits: Path, folder: Path, params: PostprocessParams) -> None:
    """Write the masks of `images` into `folder`, a subfolder for each of METHODS, from the logits in `logits`.

    The folder also gets SETTINGS_FILE: that of the logits, with `params`.

    Raises:
        InputError: logits or their settings are missing or broken.
    """
    settings = read_settings(logits)
    threshold = params.morphology_threshold
    limit = settings["best_logit"] if threshold == "validation" else threshold
    with output_folder(folder) as partial_folder:
        for method in METHODS:
            (partial_folder / method).mkdir()
        write = partial(_write_both, logits, partial_folder, params, limit)
        for _ in map_in_processes(write, images, "masks from logits"):
            pass
        write_json(partial_folder / SETTINGS_FILE, settings | {"postprocess": params.model_dump()})


def _write_both(
    logits_folder: Path, folder: Path, params: PostprocessParams, limit: float | Literal["otsu"], image: str
) -> None:
    logits = read_logits(logits_folder, image)
    masks = {
        "sigmoid": sigmoid_mask(logits, params.sigmoid_threshold),
        "morphology": morphological_mask(logits, limit, params.opening_radius, params.closing_radius),
    }
    for method, mask in masks.items():
        write_mask(folder / method / image, mask)
