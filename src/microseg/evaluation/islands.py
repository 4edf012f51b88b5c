"""Islands, the connected parts of a mask: which annotated ones are found, which missed, which invented."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from microseg.evaluation.scores import Scores

FOUND_IOU = 0.5
"""An island is found where a predicted one has a larger IoU with it; above a half there can be only one."""
IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.5, 0.55, ..., 0.95: how well an island has to be covered to count as found."""
DIAGONAL_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class AnnotatedIsland:
    """One island of an annotated mask.

    Attributes:
        area: its pixels, at least 1.
        border_distance: pixels between it and the nearest border of the micrograph, 0 where the border cuts it.
        iou: IoU with the one predicted island that covers it best, where that is above FOUND_IOU; else 0.
    """

    area: int
    border_distance: int
    iou: float


@dataclass(frozen=True)
class MatchedIslands:
    """The annotated islands of one or more micrographs, and how many islands were predicted on them."""

    annotated: tuple[AnnotatedIsland, ...]
    predicted: int

    def counts(self, threshold: float = FOUND_IOU) -> Scores:
        """Count islands as `Scores` counts pixels: found, invented, missed; their Dice coefficient is the F1.

        An island is found where its IoU is above `threshold`, which is FOUND_IOU or more.
        """
        found = sum(island.iou > threshold for island in self.annotated)
        return Scores(found, self.predicted - found, len(self.annotated) - found)

    @property
    def covered(self) -> float:
        """Sum of the IoU of the islands that are found."""
        return sum(island.iou for island in self.annotated)

    @property
    def segmentation_quality(self) -> float:
        """Mean IoU of the islands that are found, 0.5 to 1; 0 where none is, 1 where there is nothing to find.

        Times the F1 it is the panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019).
        """
        found = self.counts().true_positives
        return self.covered / found if found else self.counts().dice

    @property
    def mean_f1(self) -> float:
        """Mean F1 over IOU_THRESHOLDS, 0 to 1."""
        return float(np.mean([self.counts(threshold).dice for threshold in IOU_THRESHOLDS]))


@dataclass(frozen=True)
class UnmatchedIsland:
    """An island of one mask that has no partner in the other one.

    Attributes:
        kind: missed (annotated only) or invented (predicted only).
        area: its pixels, at least 1.
        place: rows and columns of its bounding box.
        pixels: where in this box it is.
    """

    kind: Literal["missed", "invented"]
    area: int
    place: tuple[slice, ...]
    pixels: NDArray[np.bool_]


@dataclass(frozen=True)
class _Labels:
    """The islands of two masks, numbered from 1; a row of two numbers for each pair of partners, and its IoU."""

    annotated: NDArray[np.signedinteger]
    predicted: NDArray[np.signedinteger]
    pairs: NDArray[np.int64]
    iou: NDArray[np.float64]


def pool(matches: Iterable[MatchedIslands]) -> MatchedIslands:
    """Take the islands of several micrographs together."""
    listed = list(matches)
    annotated = tuple(island for one in listed for island in one.annotated)
    return MatchedIslands(annotated, sum(one.predicted for one in listed))


def match_islands(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> MatchedIslands:
    """Match the islands of two masks of one shape (height, width), one to one.

    Pixels that touch, if only at a corner, belong to one island. An annotated and a predicted island are a pair
    where their IoU is above FOUND_IOU; no island has two such partners, so the order of matching does not matter.
    """
    from scipy import ndimage  # not at the top: the program's --help comes by here

    labels = _label(truth, prediction)
    areas = np.bincount(labels.annotated.ravel())
    best = np.zeros(len(areas))
    best[labels.pairs[:, 0]] = labels.iou
    islands = [
        AnnotatedIsland(int(areas[label]), _border_distance(place, truth.shape), float(best[label]))
        for label, place in enumerate(ndimage.find_objects(labels.annotated), start=1)
    ]
    return MatchedIslands(tuple(islands), int(labels.predicted.max(initial=0)))


def unmatched_islands(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> list[UnmatchedIsland]:
    """Return the islands of two masks of one shape (height, width) that `match_islands` finds no partner for."""
    from scipy import ndimage

    labels = _label(truth, prediction)
    unmatched: list[UnmatchedIsland] = []
    kinds: tuple[tuple[Literal["missed", "invented"], NDArray[np.signedinteger]], ...] = (
        ("missed", labels.annotated),
        ("invented", labels.predicted),
    )
    for column, (kind, islands) in enumerate(kinds):
        areas, paired = np.bincount(islands.ravel()), set(labels.pairs[:, column].tolist())
        unmatched += [
            UnmatchedIsland(kind, int(areas[label]), place, islands[place] == label)
            for label, place in enumerate(ndimage.find_objects(islands), start=1)
            if label not in paired
        ]
    return unmatched


def _label(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> _Labels:
    from scipy import ndimage

    annotated, _ = ndimage.label(truth, DIAGONAL_NEIGHBOURS)
    predicted, predicted_number = ndimage.label(prediction, DIAGONAL_NEIGHBOURS)
    areas, predicted_areas = np.bincount(annotated.ravel()), np.bincount(predicted.ravel())
    both = truth & prediction
    # One number for each pair of islands that share pixels: much faster to count than pairs.
    numbers = annotated[both].astype(np.int64) * (predicted_number + 1) + predicted[both]
    touching, shared = np.unique(numbers, return_counts=True)
    first, second = np.divmod(touching, predicted_number + 1)
    iou = shared / (areas[first] + predicted_areas[second] - shared)
    paired = iou > FOUND_IOU
    return _Labels(annotated, predicted, np.stack([first, second], axis=1)[paired], iou[paired])


def _border_distance(place: tuple[slice, ...], shape: tuple[int, ...]) -> int:
    # The pixel nearest to a border is the one that touches that side of the bounding box.
    before = min(one.start for one in place)
    behind = min(size - one.stop for one, size in zip(place, shape, strict=True))
    return int(min(before, behind))
