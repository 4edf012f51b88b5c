"""The probabilities of predicted micrographs beside their annotated masks."""

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
from microseg.prediction.logits import read_logits


@dataclass(frozen=True)
class Probabilities:
    """How true the probabilities of a number of micrographs are.

    Attributes:
        counts: what `evaluation.calibration.reliability` counts, over all of them.
        threshold: the probability above which foreground was best on the validation micrographs.
        mean_iou: the mean IoU with that threshold.
    """

    counts: NDArray[np.float64]
    threshold: float
    mean_iou: float

    def metrics(self) -> dict[str, Any]:
        """Return the figures for a metrics file."""
        return {
            "expected_calibration_error": expected_calibration_error(self.counts),
            "validation_threshold": self.threshold,
            "mean_iou_at_validation_threshold": self.mean_iou,
        }


def measure_probabilities(images: Sequence[str], logits: Path, masks: Path, cut: float) -> Probabilities:
    """Measure the sigmoid of the logits of `images`, whose best logit on validation is `cut`.

    Raises:
        InputError: logits or a mask are missing or broken.
    """
    counts, iou = np.zeros((3, CLASSES)), 0.0
    measure = partial(_measure, logits=logits, masks=masks, cut=cut)
    for counted, one in map_in_processes(measure, images, "measuring probabilities"):
        counts += counted
        iou += one / len(images)
    return Probabilities(counts, float(1 / (1 + np.exp(-cut))), iou)


def _measure(image: str, logits: Path, masks: Path, cut: float) -> tuple[NDArray[np.float64], float]:
    values, truth = read_logits(logits, image).astype(np.float32), read_mask(masks / image)
    return reliability(truth, values), calculate_iou(truth, values > cut)
