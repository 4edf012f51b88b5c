"""How far predicted probabilities can be trusted: their entropy, and their reliability against annotated masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microseg.common.parallel import map_in_processes
from microseg.evaluation.calibration import CLASSES, expected_calibration_error, reliability
from microseg.evaluation.scores import calculate_iou
from microseg.micrographs.images import read_mask
from microseg.network.image_statistics import entropy
from microseg.prediction.logits import Logits, probabilities, read_logits, row_chunks


@dataclass(frozen=True)
class Probabilities:
    """The reliability of the probabilities of several micrographs: `evaluation.calibration.reliability` of all.

    `threshold` has the highest mean IoU on the validation micrographs, and `mean_iou` is that of these.
    """

    counts: NDArray[np.float64]
    threshold: float
    mean_iou: float

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for a metrics file."""
        return {
            "expected_calibration_error": expected_calibration_error(self.counts),
            "validation_threshold": self.threshold,
            "mean_iou_at_validation_threshold": self.mean_iou,
        }


def measure_probabilities(images: Sequence[str], logits: Path, masks: Path, threshold: float) -> Probabilities:
    """Measure the sigmoid of the logits of `images`; `threshold` is the best logit on the validation micrographs.

    Raises:
        InputError: logits or a mask are missing or broken.
    """
    counts, iou = np.zeros((3, CLASSES)), 0.0
    measure = partial(_measure, logits=logits, masks=masks, threshold=threshold)
    for image_counts, image_iou in map_in_processes(measure, images, "measuring probabilities"):
        counts += image_counts
        iou += image_iou / len(images)
    return Probabilities(counts, float(1 / (1 + np.exp(-threshold))), iou)


def _measure(image: str, logits: Path, masks: Path, threshold: float) -> tuple[NDArray[np.float64], float]:
    values, ground_truth = read_logits(logits, image).astype(np.float32), read_mask(masks / image)
    return reliability(ground_truth, values), calculate_iou(ground_truth, values > threshold)


def mean_entropy(logits: Logits) -> float:
    """Return how unsure a network is of a micrograph: the mean entropy of its pixels in bits, 0 to 1."""
    chunks = [logits[rows] for rows in row_chunks(len(logits))]
    return math.fsum(entropy(probabilities(chunk)) * (len(chunk) / len(logits)) for chunk in chunks)
