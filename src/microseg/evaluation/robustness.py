"""How much IoU is lost on perturbed micrographs, which stand for another day at the microscope."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microseg.evaluation.intervals import FRACTION_DIFFERENCE, Estimate, estimate

PLAIN = "none"
"""The name of micrographs as they are, in the place of that of a perturbation."""

Iou = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Robustness:
    """The IoU of each of at least one micrograph, plain and perturbed."""

    split: str
    groups: tuple[str, ...]
    """The group of each micrograph, "" for none."""
    plain: Iou
    perturbed: dict[str, Iou]
    """By perturbation, of which there is at least one."""

    @property
    def mean_perturbed(self) -> Iou:
        """The IoU of each micrograph, averaged over the perturbations."""
        mean: Iou = np.stack(list(self.perturbed.values())).mean(axis=0)
        return mean

    @cached_property
    def drop(self) -> Estimate:
        """The drop of the mean IoU, averaged over the perturbations."""
        return self._drop(self.mean_perturbed)

    @cached_property
    def drops(self) -> dict[str, Estimate]:
        """The drop of the mean IoU by each perturbation."""
        return {name: self._drop(iou) for name, iou in self.perturbed.items()}

    @property
    def worst(self) -> str:
        """The perturbation with the largest drop."""
        return max(self.drops, key=lambda name: self.drops[name].value)

    def _drop(self, iou: Iou) -> Estimate:
        return estimate(self.plain - iou, groups=self.groups, bounds=FRACTION_DIFFERENCE)

    def __str__(self) -> str:
        """Return a sentence for the log."""
        return (
            f"perturbed micrographs of {self.split}: mean IoU {self.mean_perturbed.mean():.4f}, plain "
            f"{self.plain.mean():.4f}; drop {self.drop}; largest for {self.worst}, "
            f"{self.drops[self.worst].value:.4f}"
        )

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for a report."""
        interval = {} if self.drop.bounds is None else {"iou_drop_interval95": self.drop.bounds}
        return {
            "split": self.split,
            "images": len(self.groups),
            "mean_iou": float(self.plain.mean()),
            "perturbed_mean_iou": float(self.mean_perturbed.mean()),
            "iou_drop": self.drop.value,
            **interval,
            "worst_perturbation": self.worst,
            "worst_iou_drop": self.drops[self.worst].value,
        }

    def table(self) -> Iterator[tuple[object, ...]]:
        """Yield a row of ROBUSTNESS_HEADER for the plain micrographs and for each perturbation."""
        yield PLAIN, float(self.plain.mean()), 0.0, "", ""
        for name, drop in self.drops.items():
            yield (name, float(self.perturbed[name].mean()), drop.value, *(drop.bounds or ("", "")))


ROBUSTNESS_HEADER = ("perturbation", "mean_iou", "iou_drop", "low", "high")
