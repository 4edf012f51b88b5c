"""The review of a change: its effect on parameters, metrics and plots as Markdown, against the noise of seeds."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from microseg.common.errors import InputError
from microseg.common.files import write_csv
from microseg.evaluation.intervals import CONFIDENCE
from microseg.experiments.comparison import IMAGE_TABLE, Comparison, read_dataset, read_image_table
from microseg.experiments.dvc_access import dvc_output, file_at

LISTED = 5
"""Micrographs with the largest changes that are listed for each method."""

SEED_NOISE = "plots/experiments/seed_noise.csv"
"""The recorded noise of seeds with the committed parameters."""
NOISE_COLUMNS = ("method", "iou", "ground_truth_sha256", "seeds", "standard_deviation", "noticeable")

OF_THE_MEAN = "mean"
"""What stands in the column `iou` for the mean IoU; other rows have the name of a micrograph."""


def review(base: str) -> str:
    """Compare the working tree, in which the pipeline has run, with the commit `base`; return Markdown.

    Raises:
        InputError: there is no such commit, or the pipeline has not been run.
    """
    sections = {
        "Parameters": _dvc_diff("params", base),
        "Metrics": _dvc_diff("metrics", base),
        "Micrographs": "\n\n".join(micrograph_changes(base)),
        "Charts": _charts(base),
    }
    parts = [f"## What this changes against {base}"]
    parts += [f"### {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def _dvc_diff(kind: str, base: str) -> str:
    table = dvc_output(kind, "diff", "--md", base).strip()
    # Without differences DVC prints the header of an empty table.
    return table if len(table.splitlines()) > 2 else "No difference."


def micrograph_changes(base: str) -> Iterator[str]:
    """Yield, for each method, which micrographs it segments better or worse than before."""
    before, after = read_image_table(base), read_image_table(None)
    if before is None or after is None:
        missing = base if before is None else "the working tree"
        yield f"{missing} has no {IMAGE_TABLE} to compare with."
        return
    then, now = read_dataset(base), read_dataset(None)
    if then != now:
        yield (
            f"{base} was evaluated on {then}, the working tree on {now}, whose digests are "
            f"{then.ground_truth_sha256} and {now.ground_truth_sha256}: no score of the two is comparable."
        )
        return
    noise = read_noise(Path(SEED_NOISE), now.ground_truth_sha256)
    both = before.merge(after, on=["image", "method"], suffixes=("_before", "_after"))
    both["change"] = both["iou_after"] - both["iou_before"]
    both["limit"] = [noise.get(key) for key in zip(both["method"], both["image"], strict=True)]
    if both["limit"].isna().any():
        noise = {}
        yield (
            f"{SEED_NOISE} has no noise of seeds for these micrographs, so changes cannot be distinguished from "
            "noise; record it with `microseg experiments --noise`."
        )
    for name, rows in both.groupby("method", sort=False):
        yield from _changes_of_method(str(name), rows, noise)


def _changes_of_method(method: str, rows: pd.DataFrame, noise: Mapping[tuple[str, str], float]) -> Iterator[str]:
    limits = rows["limit"] if noise else 0.0
    changed = rows[rows["change"].abs() > limits]
    better = int((changed["change"] > 0).sum())
    by_chance = round((1 - CONFIDENCE) * len(rows))
    beyond = f" by more than its own noise of seeds; about {by_chance} would be by chance" if noise else ""
    yield f"**{method}**: {len(rows)} micrographs, {better} better and {len(changed) - better} worse{beyond}."
    mean, limit = rows["change"].mean(), noise.get((method, OF_THE_MEAN))
    if limit is not None:
        verdict = "more than" if abs(mean) > limit else "no more than"
        yield f"The mean IoU changes by {mean:+.4f}, {verdict} the noise of seeds ({limit:.4f})."
    if len(changed):
        largest = changed.sort_values("change", key=abs, ascending=False).head(LISTED)
        columns = {"image": "micrograph", "iou_before": "IoU before", "iou_after": "IoU now", "change": "change"}
        columns |= {"limit": "noise of seeds"} if noise else {}
        yield _markdown(largest[list(columns)].rename(columns=columns))


def _charts(base: str) -> str:
    """Compare the last values of each curve in the pipeline's plots."""
    rows = []
    for title, table, column in _curves():
        before, after = _table_at(base, table), _table_now(table)
        last = "not in DVC's cache" if before is None or column not in before else before[column].iloc[-1]
        rows.append({"chart": title, "curve": column, "last before": last, "last now": after[column].iloc[-1]})
    return _markdown(pd.DataFrame(rows))


def _curves() -> Iterator[tuple[str, str, str]]:
    """Yield title, table and column of each curve among the plots of dvc.yaml."""
    pipeline: dict[str, Any] = YAML(typ="safe", pure=True).load(Path("dvc.yaml"))
    for entry in pipeline["plots"]:
        if isinstance(entry, dict):  # a bare path is an image
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


def read_noise(path: Path, ground_truth_sha256: str) -> dict[tuple[str, str], float]:
    """Return the noticeable difference by method and OF_THE_MEAN or micrograph, on these annotated masks."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ground_truth_sha256"] == ground_truth_sha256]
    return {(row["method"], row["iou"]): float(row["noticeable"]) for row in rows}


def record_noise(comparison: Comparison, path: Path) -> None:
    """Write the noise of experiments that differ only in their seed.

    Raises:
        InputError: an experiment has no table of its micrographs.
    """
    tables = []
    for point in comparison.points:
        table = read_image_table(point.revision)
        if table is None:
            raise InputError(f"{point.name}: no {IMAGE_TABLE}; rerun the stage evaluate there")
        tables.append(table)
    write_noise(path, tables, comparison.dataset.ground_truth_sha256)


def write_noise(path: Path, tables: Sequence[pd.DataFrame], ground_truth_sha256: str) -> None:
    """Write the table of `seed_noise`."""
    write_csv(path, NOISE_COLUMNS, seed_noise(tables, ground_truth_sha256))


def seed_noise(tables: Sequence[pd.DataFrame], ground_truth_sha256: str) -> Iterator[tuple[object, ...]]:
    """Yield rows of NOISE_COLUMNS: the spread over seeds of the mean IoU, and of the IoU of each micrograph.

    `noticeable` is the difference that two trainings exceed in one of twenty cases if only their seeds differ:
    Student's t times the standard deviation of a difference. A micrograph that scores the same with every seed
    takes the root mean square of the others' deviations. `tables` are the scores of two trainings or more.
    """
    from scipy.stats import t

    freedom = len(tables) - 1
    factor = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(2)
    for method in dict.fromkeys(tables[0]["method"]):
        own = [table[table["method"] == method].set_index("image")["iou"] for table in tables]
        iou = pd.concat(own, axis="columns", sort=True)
        deviations = iou.std(axis="columns")
        deviations = deviations.where(deviations > 0, math.sqrt((deviations**2).mean()))
        for of, deviation in {OF_THE_MEAN: iou.mean().std(), **deviations}.items():
            yield (method, of, ground_truth_sha256, len(tables), float(deviation), factor * float(deviation))
