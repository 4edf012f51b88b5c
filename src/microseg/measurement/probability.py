"""The network's probability of foreground, a band of rows at a time: for a mosaic it is never held as a whole."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from microseg.prediction.logits import bands

Logits = NDArray[np.floating]
WholeNumber = TypeVar("WholeNumber", np.uint8, np.uint16)


def probabilities(logits: Logits) -> NDArray[np.float32]:
    """Return the sigmoid of logits of any shape."""
    return np.asarray(expit(logits.astype(np.float32)))


def rescaled(logits: Logits, kind: type[WholeNumber]) -> NDArray[WholeNumber]:
    """Return the probability, (height, width), as whole numbers; the largest of their `kind` is certainty."""
    result = np.empty(logits.shape, kind)
    for rows in bands(len(logits)):
        result[rows] = np.rint(probabilities(logits[rows]) * np.iinfo(kind).max)
    return result
