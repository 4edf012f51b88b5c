"""The reference names every file that the pipeline writes, the columns of its tables, the keys of its reports."""

import csv
import json
import re
from pathlib import Path

import pytest

from pipeline_files import ROOT, STAGES

REFERENCE = "\n".join(
    (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    for name in ("files-and-columns.md", "metrics.md")
)


def outputs_of(stage: str) -> list[str]:
    """Return the paths that dvc.yaml says a stage writes."""
    listed = [out for kind in ("outs", "metrics") for out in STAGES[stage].get(kind, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in listed]


def names_in(file: Path) -> list[str]:
    """Return the columns of a table, or the outer keys of a JSON file or of the first line of a JSONL file."""
    if file.suffix == ".csv" and file.name != "metadata.csv":  # whose columns are the user's own
        with file.open(encoding="utf-8", newline="") as table:
            return next(csv.reader(table, delimiter=";" if file.name == "annotations.csv" else ","))
    if file.suffix in (".json", ".jsonl"):
        text = file.read_text(encoding="utf-8")
        return list(json.loads(text if file.suffix == ".json" else text.splitlines()[0]))
    return []


def is_named(name: str) -> bool:
    """Say whether the reference has a name in code."""
    return re.search(rf"[`;\"]{re.escape(name)}[`;\"]", REFERENCE) is not None


def is_described(place: str) -> bool:
    """Say whether the reference has a file: its path, or its name beside its folder, or a folder as a whole."""
    folder, _, name = place.rpartition("/")
    return is_named(place) or folder == "plots/vectors" or (is_named(f"{folder}/") and is_named(name))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_writes_nothing_that_is_not_in_the_reference(stage: str, finished: Path) -> None:
    for out in outputs_of(stage):
        path = finished / out
        for file in filter(Path.is_file, [path, *path.rglob("*")]):
            place = re.sub(r"IMG_\d+", "NAME", file.relative_to(finished).as_posix())
            assert is_described(place), place
            unnamed = [one for one in names_in(file) if not is_named(one)]
            assert not unnamed, f"{place}: {unnamed}"


def test_every_score_is_defined(finished: Path) -> None:
    definitions = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    with (finished / "reports/evaluation/scores.csv").open(encoding="utf-8", newline="") as table:
        scores = {row["score"] for row in csv.DictReader(table)}
    assert scores
    assert not [score for score in sorted(scores) if f"`{score}`" not in definitions]
