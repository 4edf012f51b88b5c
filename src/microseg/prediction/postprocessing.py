"""From logits, the raw output of the network, to binary masks, in the two ways of the study."""

import math

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.morphology import closing, disk, opening

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
    # Beyond the border lies what could not be seen, not background: an island that the border cuts is neither
    # eroded there by opening nor joined to the border by closing.
    if opening_radius:
        mask = opening(mask, disk(opening_radius), mode="ignore")
    if closing_radius:
        mask = closing(mask, disk(closing_radius), mode="ignore")
    return mask


def otsu_threshold(values: NDArray[np.float32]) -> float:
    """Return the threshold after Otsu of any numbers, or the number itself where all are the same."""
    lowest, highest = float(values.min()), float(values.max())
    return float(threshold_otsu(values)) if lowest < highest else highest
