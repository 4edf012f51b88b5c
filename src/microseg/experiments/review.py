"""What a change does to parameters, metrics and plots, as Markdown for the review of a pull request."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from microseg.common.errors import InputError
from microseg.experiments.comparison import EVALUATION
from microseg.experiments.dvc_access import dvc_output, file_at
from microseg.experiments.seed_noise import OF_A_MICROGRAPH, OF_THE_MEAN, SEED_NOISE, read_noise

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
