"""The tables of DVC, as people type them, fit a terminal of 120 columns."""

from pathlib import Path

from project_copy import run
from terminal import in_terminal

SHOW = ("dvc", "exp", "show", "--only-changed", "--no-pager", "--drop", r"Created|models|.*f1|.*/")
"""As README has it: what differs, without dates and without the digests of data and code."""


def test_metrics_fit(finished: Path):
    lines = in_terminal("dvc", "metrics", "show", cwd=finished)
    assert max(map(len, lines)) <= 120
    header = lines[0].split()
    assert {"sigmoid.mean_iou", "morphology.mean_iou", "validation_iou"} <= set(header)


def test_the_whole_table_of_experiments_has_scores_and_parameters(finished: Path):
    header = next(line for line in in_terminal("dvc", "exp", "show", cwd=finished) if "Experiment" in line)
    assert "sigmoid.mean_iou" in header
    assert "train.epochs" in header


def test_experiments_with_what_differs_fit(project: Path):
    run("dvc", "exp", "run", "-n", "e3", "-S", "train.epochs=3", cwd=project)
    lines = in_terminal(*SHOW, cwd=project)
    assert max(map(len, lines)) <= 120
    header = next(line for line in lines if "Experiment" in line).split()
    assert header[0] == "Experiment"
    assert {"sigmoid.mean_iou", "morphology.mean_iou", "train.epochs"} <= set(header)
    assert any("[e3]" in line and line.split()[-1] == "3" for line in lines)
