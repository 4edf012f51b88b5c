"""What the annotated micrographs themselves say about the settings of a training.

Only those for training and validation are looked at: the test set must not influence any choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp
from skimage.measure import label, regionprops_table

from microseg.common.parallel import map_in_processes
from microseg.common.params import Params
from microseg.micrographs.images import read_mask, read_micrograph
from microseg.prediction.postprocessing import binary_closing, binary_opening
from microseg.splits import TRAIN, VALIDATION, images_of, read_split, split_sizes

SIGNIFICANT = 0.05
"""An error of the first kind costs a candidate half of its flips; one of the second shows it impossible layers."""
GREY_LEVELS = 256
KEPT = 0.98
"""The IoU that annotated masks keep with themselves, at least, when they are opened and closed."""


@dataclass(frozen=True)
class Survey:
    """Properties of the micrographs for training and validation."""

    train: int
    validation: int
    can_rotate: bool
    """Whether the validation set is drawn, so that another part of the sample can take its place."""
    shape: tuple[int, int]
    """Height and width in pixels, those of the smallest micrograph."""
    foreground: float
    """Area fraction of the foreground, 0 to 1."""
    island_diameter: float
    """Equivalent diameter in pixels below which islands have half of the foreground; infinite without islands."""
    grey_iou: float
    """IoU of the pixels above, or below, the best grey value for all micrographs together."""
    has_up_and_down: bool
    """Whether foreground or brightness lies higher, or lower, in micrographs than chance explains."""
    radius: int
    """The largest radius in pixels, up to that of params.yaml, whose opening and closing keep the masks."""

    def to_lines(self) -> list[str]:
        """Return a line for each property, for people to read."""
        return [
            f"{self.train} micrographs to train with and {self.validation} to validate, "
            f"the smallest of {self.shape[1]} x {self.shape[0]} pixels",
            f"foreground {100 * self.foreground:.1f} % of the area, half of it in islands below "
            f"{self.island_diameter:.0f} pixels across",
            f"the best threshold of grey alone gives an IoU of {self.grey_iou:.2f}",
            "up and down differ: nothing is flipped upside down"
            if self.has_up_and_down
            else "up and down do not differ",
            f"opening and closing by up to {self.radius} pixels keeps {KEPT:.0%} of the annotated masks"
            if self.radius
            else f"any opening and closing would keep less than {KEPT:.0%} of the annotated masks: there is none",
        ]


def survey(images: Path, masks: Path, split: Path, params: Params) -> Survey:
    """Look at the micrographs for training and validation.

    Args:
        images: the folder of the micrographs, data/raw/images.
        masks: the folder of their masks, data/masks.
        split: data/split.csv.
        params: those of the split and of the masks.

    Raises:
        InputError: a file is missing or damaged.
    """
    rows = read_split(split)
    sizes = split_sizes(rows)
    names = images_of(rows, TRAIN, VALIDATION)
    radius = max(params.postprocess.opening_radius, params.postprocess.closing_radius)
    look = partial(_look_at, images, masks, radius)
    looked_at = list(map_in_processes(look, names, "looking at the micrographs"))
    histograms = np.sum([one.histograms for one in looked_at], axis=0)
    diameters = np.concatenate([one.diameters for one in looked_at])
    return Survey(
        train=sizes[TRAIN],
        validation=sizes[VALIDATION],
        can_rotate=params.split.from_column is None,
        shape=min((one.shape for one in looked_at), key=min),
        foreground=float(histograms[1].sum() / histograms.sum()),
        island_diameter=area_weighted_median(diameters),
        grey_iou=best_grey_iou(*histograms),
        has_up_and_down=differs_from_zero([one.foreground_height for one in looked_at])
        or differs_from_zero([one.brightness_height for one in looked_at]),
        radius=largest_radius(np.sum([one.opened for one in looked_at], axis=0)),
    )


@dataclass(frozen=True)
class _Look:
    shape: tuple[int, int]
    diameters: NDArray[np.float64]
    foreground_height: float
    """Correlation of the foreground with the height in the micrograph, -1 to 1."""
    brightness_height: float
    """That of the grey value."""
    opened: NDArray[np.int64]
    """Pixels in both, and in either, of the mask and itself opened and closed, for each radius, (radii, 2)."""
    histograms: NDArray[np.int64]


def _look_at(images: Path, masks: Path, radius: int, name: str) -> _Look:
    micrograph, mask = read_micrograph(images / name), read_mask(masks / name)
    height, width = mask.shape
    return _Look(
        (height, width),
        regionprops_table(label(mask), properties=["equivalent_diameter_area"])["equivalent_diameter_area"],
        _correlation_with_height(mask),
        _correlation_with_height(micrograph),
        np.array([_intersection_and_union(mask, one) for one in range(radius + 1)]),
        np.stack([np.bincount(micrograph[part], minlength=GREY_LEVELS) for part in (~mask, mask)]),
    )


def best_grey_iou(background: NDArray[np.int64], foreground: NDArray[np.int64]) -> float:
    """Return the highest IoU of all thresholds of grey, islands brighter or darker than the rest.

    Args:
        background: the number of background pixels of each grey value.
        foreground: that of foreground pixels.
    """
    best = 0.0
    for order in (slice(None), slice(None, None, -1)):
        found, wrong = np.cumsum(foreground[order]), np.cumsum(background[order])
        best = max(best, float((found / np.maximum(foreground.sum() + wrong, 1)).max()))
    return best


def area_weighted_median(diameters: NDArray[np.float64]) -> float:
    """Return the diameter up to which islands have half of the area, infinite without islands.

    Specks of one or two pixels may be most of the islands by number, and no candidate has to find those.
    """
    if not len(diameters):
        return np.inf
    return float(np.quantile(diameters, 0.5, weights=diameters**2, method="inverted_cdf"))


def largest_radius(opened: NDArray[np.int64]) -> int:
    """Return the largest radius up to which masks keep an IoU of KEPT with themselves.

    Args:
        opened: pixels in both, and in either, of the masks and of themselves opened and closed, (radii, 2).
    """
    kept = opened[:, 0] >= KEPT * opened[:, 1]  # radius 0 always is
    return int(np.append(kept, False).argmin()) - 1


def _intersection_and_union(mask: NDArray[np.bool_], radius: int) -> tuple[int, int]:
    opened = binary_closing(binary_opening(mask, radius), radius)
    return int(np.count_nonzero(mask & opened)), int(np.count_nonzero(mask | opened))


def differs_from_zero(correlations: Sequence[float]) -> bool:
    """Return whether the mean of correlations is off zero by more than chance, by Student's t test.

    A layer lies at the same height in most micrographs, islands anywhere.
    """
    return len(correlations) > 2 and float(ttest_1samp(correlations, 0).pvalue) < SIGNIFICANT


def _correlation_with_height(picture: NDArray[Any]) -> float:
    values = picture - picture.mean(dtype=np.float64)
    heights = np.linspace(1, -1, len(values))
    norm = values.std() * heights.std()
    # Rounded, since the t test takes what is left by rounding errors for a difference.
    return round(float((values.mean(axis=1) * heights).mean() / norm), 6) if norm else 0.0
