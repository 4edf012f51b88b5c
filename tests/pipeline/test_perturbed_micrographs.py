"""The stage evaluate predicts perturbed micrographs with the trained network: those that the parameters name."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from microseg.splits import images_of, read_split

from pipeline_files import ROOT
from project_copy import run, set_params

REFERENCE = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")


def evaluate(project: Path, robustness: str) -> dict[str, Any]:
    set_params(project, {"evaluate.robustness": robustness})
    run("dvc", "repro", "--single-item", "evaluate", cwd=project)
    report: dict[str, Any] = json.loads((project / "reports/evaluation/evaluation.json").read_text())
    return report


def test_the_test_or_the_validation_micrographs_are_perturbed(project: Path) -> None:
    scores = (project / "metrics/evaluation.json").read_bytes()
    rows = read_split(project / "data/split.csv")
    for split in ("test", "validation"):
        report = evaluate(project, split)
        robustness = report["robustness"]
        assert (robustness["split"], robustness["images"]) == (split, len(images_of(rows, split)))
        if split == "test":  # the plain ones are what the pipeline has predicted
            assert robustness["mean_iou"] == pytest.approx(report["sigmoid"]["mean_iou"], abs=1e-4)
        assert all(f"`{key}`" in REFERENCE for key in robustness)
    with (project / "reports/evaluation/robustness.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    drops = [float(row["iou_drop"]) for row in table[1:]]
    assert len(drops) == 10
    assert robustness["iou_drop"] == pytest.approx(sum(drops) / 10)
    assert robustness["worst_iou_drop"] == max(drops)
    assert all(f"`{row['perturbation']}`" in REFERENCE for row in table)
    assert (project / "plots/evaluation/robustness.png").is_file()
    # What experiments are compared by does not change, and goes without it.
    assert (project / "metrics/evaluation.json").read_bytes() == scores
