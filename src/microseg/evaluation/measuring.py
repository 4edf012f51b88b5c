"""One micrograph measured in every way: its pixels, its islands, their outlines, their area and their points."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.evaluation.boundaries import BoundaryAgreement, compare_boundaries
from microseg.evaluation.islands import MatchedIslands, match_islands
from microseg.evaluation.scores import MeasuredImage, border_distance, score
from microseg.micrographs.images import read_mask

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Subject:
    """A micrograph to measure: its group, "" for none, and a point (x, y) in pixels for each annotated island."""

    image: str
    group: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Agreement:
    """How one predicted mask agrees with the annotated one in more than single pixels.

    Attributes:
        area_fraction_error: predicted minus annotated share of the micrograph that is foreground, -1 to 1.
        points_found: how many of the annotated points are in the predicted mask.
    """

    islands: MatchedIslands
    boundary: BoundaryAgreement
    area_fraction_error: float
    points_found: int


@dataclass(frozen=True)
class MeasuredMicrograph:
    """All measurements of one micrograph, for each method."""

    pixels: MeasuredImage
    group: str
    points: int
    """How many annotated points lie on the micrograph."""
    agreements: dict[str, Agreement]


def measure_micrograph(
    subject: Subject, masks: Path, predictions: Path, methods: Sequence[str]
) -> MeasuredMicrograph:
    """Measure one micrograph's masks in the folder `predictions`, one folder a method, against that in `masks`.

    Raises:
        InputError: a mask is missing, cannot be read, or has another size than its truth.
    """
    truth = read_mask(masks / subject.image)
    points = _on_the_micrograph(subject.points, truth.shape)
    scores, agreements = {}, {}
    for method in methods:
        path = predictions / method / subject.image
        prediction = read_mask(path)
        if prediction.shape != truth.shape:
            raise InputError(
                f"{path}: {prediction.shape} pixels, but the annotated mask has {truth.shape}; "
                "rerun predict and postprocess"
            )
        scores[method] = score(truth, prediction)
        agreements[method] = Agreement(
            islands=match_islands(truth, prediction),
            boundary=compare_boundaries(truth, prediction),
            area_fraction_error=float(prediction.mean() - truth.mean()),
            points_found=int(prediction[points[:, 1], points[:, 0]].sum()),
        )
    pixels = MeasuredImage(subject.image, float(truth.mean()), border_distance(truth), scores)
    return MeasuredMicrograph(pixels, subject.group, len(points), agreements)


def _on_the_micrograph(points: Sequence[tuple[float, float]], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return column and row, (n, 2), of the pixels with a point; what lies outside the micrograph is left out."""
    height, width = shape
    pixels = np.rint(np.array(points, dtype=np.float64).reshape(-1, 2)).astype(np.int64)
    inside = (pixels >= 0).all(axis=1) & (pixels < (width, height)).all(axis=1)
    return pixels[inside]
