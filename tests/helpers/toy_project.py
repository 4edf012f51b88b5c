"""A DVC project of one stage that runs in a moment, with this project's parameters and layout of metrics."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline_files import ROOT
from project_copy import commit, run, set_params

# What the tests count on, whatever the project's own defaults are.
PARAMS = {"split.sample_size": None, "train.epochs": 20, "train.lr": 0.001, "train.batch_size": 8}

PIPELINE = """\
stages:
  evaluate:
    cmd: python stage.py
    deps: [stage.py]
    params: [split.sample_size, train.epochs, train.lr]
    metrics:
      - metrics/evaluation.json:
          cache: false
    outs:
      - scores.txt
      - reports/evaluation/evaluation.json:
          cache: false
"""

PATIENCE = 300
"""Seconds after which a test gives up, on however busy a machine."""

# The mean IoU follows from the parameters: sigmoid n / 200, morphology 0.1 + n / 400, so they cross at n = 40.
# Each run is written down in the file RUNS; while the file HOLD exists no run ends; above a learning rate of 1 it
# fails.
STAGE = """\
import json, os, sys, time
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
size, epochs = params["split"]["sample_size"] or 80, params["train"]["epochs"]
with open(os.environ["RUNS"], "a") as runs:
    runs.write(f"{size} {epochs}\\n")
while Path(os.environ["HOLD"]).exists():
    time.sleep(0.05)
if params["train"]["lr"] > 1:
    sys.exit("the loss is not finite")

def scores(mean):
    rest = {"std_iou": 0.05, "pooled_iou": mean, "fraction_above_095": 0.0, "fraction_zero": 0.1}
    return {"images": 20, "mean_iou": mean, "median_iou": mean + 0.01, **rest}

dataset = {"source": "synthetic", "split": "test", "images": 20, "ground_truth_sha256": "ab12"}
content = {"dataset": dataset, "sigmoid": scores(size / 200), "morphology": scores(0.1 + size / 400)}
metrics = {method: {"mean_iou": content[method]["mean_iou"]} for method in ("sigmoid", "morphology")}
for path, values in {"metrics": metrics, "reports/evaluation": content}.items():
    Path(path).mkdir(parents=True, exist_ok=True)
    Path(path, "evaluation.json").write_text(json.dumps(values))
Path("scores.txt").write_text(f"{size} {epochs}")
"""


def make_toy(folder: Path) -> Path:
    """Make the project, run it once, and commit everything."""
    folder.mkdir(parents=True)
    shutil.copy2(ROOT / "params.yaml", folder)
    set_params(folder, PARAMS)
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    (folder / ".gitignore").write_text("/.microseg/\n")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "stage.py").write_text(STAGE)
    run("git", "init", "--quiet", "--initial-branch=main", cwd=folder)
    run("dvc", "repro", "--quiet", cwd=folder, **toy_environment(folder))
    commit(folder, "toy")
    runs_file(folder).unlink()
    return folder


def toy_environment(folder: Path) -> dict[str, str]:
    """Return what the stage and the package need to find in the environment, for a project in `folder`."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    return {"RUNS": str(runs_file(folder)), "HOLD": str(hold_file(folder)), "PYTHONPATH": path}


def runs_file(folder: Path) -> Path:
    """Return the file in which all clones beside each other write down every run of their stage."""
    return folder.parent / "runs"


def hold_file(folder: Path) -> Path:
    """Return the file that keeps the stage from ending as long as it exists."""
    return folder.parent / "hold"


def runs(folder: Path) -> list[str]:
    """Return the sample size and the number of epochs of every run so far, such as "10 20"."""
    return runs_file(folder).read_text().splitlines() if runs_file(folder).exists() else []


def microseg(*arguments: str) -> list[str]:
    """Return the command line of the console command."""
    return [sys.executable, "-m", "microseg.console.program", *arguments]


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until `condition` holds; an AssertionError where it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
