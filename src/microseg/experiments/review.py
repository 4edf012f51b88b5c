"""What a change does to parameters, metrics and plots, as Markdown for a pull request, and what seeds alone do."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from microseg.common.errors import InputError
from microseg.common.files import write_csv
from microseg.experiments.comparison import EVALUATION, IMAGE_TABLE, Comparison, read_image_table
from microseg.experiments.dvc_access import dvc_output, file_at

EVALUATION_TABLE = "plots/evaluation.csv"
LISTED = 5


def review(base: str) -> str:
    """Compare the working tree, whose pipeline has been run, with the commit `base`.

    Raises:
        InputError: there is no such commit, or the pipeline has not been run.
    """
    sections = {
        "Parameters": _difference("params", base),
        "Metrics": _difference("metrics", base),
        "Micrographs": "\n\n".join(_micrographs(base)),
        "Charts": _charts(base),
    }
    parts = [f"## What this changes against {base}"]
    parts += [f"### {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def _difference(kind: str, base: str) -> str:
    table = dvc_output(kind, "diff", "--md", base).strip()
    # Where nothing differs DVC prints the head of an empty table.
    return table if len(table.splitlines()) > 2 else "No difference."


def _micrographs(base: str) -> Iterator[str]:
    """Say which micrographs each method segments better or worse than before."""
    before, after = _table_at(base, EVALUATION_TABLE), _table_now(EVALUATION_TABLE)
    if before is None:
        yield f"{base} has no {EVALUATION_TABLE} to compare with."
        return
    noise = read_noise(Path(SEED_NOISE), Path(EVALUATION))
    if not noise:
        yield (
            f"{SEED_NOISE} does not say how much trainings on these micrographs differ by their seed alone, so "
            "none of this can be told from noise."
        )
    both = before.merge(after, on=["image", "method"], suffixes=("_before", "_after"))
    both["change"] = both["iou_after"] - both["iou_before"]
    for name, rows in both.groupby("method", sort=False):
        method = str(name)
        limit = noise.get((method, OF_A_MICROGRAPH), 0.0)
        better, worse = (rows["change"] > limit).sum(), (rows["change"] < -limit).sum()
        beyond = f" by more than seeds make, {limit:.3f} IoU" if noise else ""
        yield f"**{method}**: {len(rows)} micrographs, {better} better and {worse} worse{beyond}."
        yield from _mean_change(rows["change"].mean(), noise.get((method, OF_THE_MEAN)))
        changed = rows[rows["change"].abs() > limit]
        largest = changed.sort_values("change", key=abs, ascending=False).head(LISTED)
        if len(largest):
            columns = {
                "image": "micrograph",
                "iou_before": "IoU before",
                "iou_after": "IoU now",
                "change": "change",
            }
            yield _markdown(largest[list(columns)].rename(columns=columns))


def _mean_change(change: float, limit: float | None) -> Iterator[str]:
    if limit is not None:
        verdict = "more than" if abs(change) > limit else "no more than"
        yield f"The mean IoU changes by {change:+.4f}, {verdict} seeds make ({limit:.4f})."


def _charts(base: str) -> str:
    """Compare the last values of each curve that the pipeline draws from a table."""
    rows = []
    for title, table, column in _curves():
        before, after = _table_at(base, table), _table_now(table)
        last = "not in the cache" if before is None or column not in before else before[column].iloc[-1]
        rows.append({"chart": title, "curve": column, "last before": last, "last now": after[column].iloc[-1]})
    return _markdown(pd.DataFrame(rows))


def _curves() -> Iterator[tuple[str, str, str]]:
    """Yield title, table and column of each curve among the charts of dvc.yaml."""
    pipeline: dict[str, Any] = YAML(typ="safe", pure=True).load(Path("dvc.yaml"))
    for entry in pipeline["plots"]:
        if isinstance(entry, dict):  # a path without more is a picture
            for title, chart in entry.items():
                for table, columns in chart["y"].items():
                    for column in [columns] if isinstance(columns, str) else columns:
                        yield title, table, column


def _table_now(path: str) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such table; run `dvc repro` first") from None


def _table_at(revision: str, path: str) -> pd.DataFrame | None:
    content = file_at(revision, path)
    return None if content is None else pd.read_csv(io.StringIO(content))


def _markdown(table: pd.DataFrame) -> str:
    return str(table.to_markdown(index=False, floatfmt=".4f"))


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
