"""How much two trainings differ in nothing but their seed: the least difference that means anything."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from microseg.common.errors import InputError
from microseg.common.files import write_csv
from microseg.experiments.comparison import IMAGE_TABLE, Comparison
from microseg.experiments.image_tables import read_image_table

SEED_NOISE = "plots/experiments/seed_noise.csv"
"""The recorded noise of the parameters that are committed."""
HEADER = ("method", "iou", "truth", "seeds", "standard_deviation", "noticeable")

OF_THE_MEAN, OF_A_MICROGRAPH = "mean", "micrograph"
CONFIDENCE = 0.95


def noise_of(tables: Sequence[pd.DataFrame], truth: str) -> Iterator[tuple[object, ...]]:
    """Yield rows of HEADER: how far the mean IoU, and the IoU of a single micrograph, spread over seeds.

    `noticeable` is the difference that two trainings exceed in one of twenty cases when only their seeds differ:
    Student's t times the standard deviation of a difference. For single micrographs the deviation is the root of
    the mean of their variances.

    Args:
        tables: plots/evaluation.csv of at least two trainings with different seeds, on the same micrographs.
        truth: the digest of their annotated masks.
    """
    methods = list(dict.fromkeys(tables[0]["method"]))
    for method in methods:
        # (seeds, micrographs)
        iou = np.array([_sorted_iou(table, method) for table in tables])
        variances = {OF_THE_MEAN: iou.mean(axis=1).var(ddof=1), OF_A_MICROGRAPH: iou.var(axis=0, ddof=1).mean()}
        freedom = {OF_THE_MEAN: len(tables) - 1, OF_A_MICROGRAPH: (len(tables) - 1) * iou.shape[1]}
        for of, variance in variances.items():
            deviation = math.sqrt(variance)
            yield (method, of, truth, len(tables), deviation, _noticeable(deviation, freedom[of]))


def _sorted_iou(table: pd.DataFrame, method: str) -> list[float]:
    return [float(iou) for iou in table[table["method"] == method].sort_values("image")["iou"]]


def _noticeable(deviation: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(2) * deviation


def write_noise(path: Path, tables: Sequence[pd.DataFrame], truth: str) -> None:
    """Write the noise that `noise_of` finds."""
    write_csv(path, HEADER, noise_of(tables, truth))


def record_noise(comparison: Comparison, path: Path) -> None:
    """Write the noise of experiments that differ in their seed only.

    Raises:
        InputError: one of them has no table of its micrographs.
    """
    tables = []
    for point in comparison.points:
        table = read_image_table(point.revision)
        if table is None:
            raise InputError(f"{point.name}: no {IMAGE_TABLE}; run its evaluation again")
        tables.append(table)
    write_noise(path, tables, comparison.measured_on.truth)


def read_noise(path: Path, evaluation: Path) -> dict[tuple[str, str], float]:
    """Return what is noticeable, by method and OF_THE_MEAN or OF_A_MICROGRAPH; empty where none is recorded.

    Noise recorded on other micrographs than those that the metrics file `evaluation` names does not count.
    """
    if not path.is_file() or not evaluation.is_file():
        return {}
    truth = json.loads(evaluation.read_text(encoding="utf-8"))["measured_on"]["truth"]
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["truth"] == truth]
    return {(row["method"], row["iou"]): float(row["noticeable"]) for row in rows}
