"""`microseg measure` as a command: corrected masks are measured and compared, without waiting for torch."""

import subprocess
import sys

import numpy as np
import pandas as pd
from PIL import Image

from drawn_micrographs import write_disks
from project_copy import environment


def call(*arguments, cwd):
    command = [sys.executable, "-m", "microseg.console.program", "measure", *arguments]
    more = environment(PYTHONPROFILEIMPORTTIME="1")
    return subprocess.run(command, cwd=cwd, env=more, capture_output=True, text=True, check=False)


def test_corrected_masks_are_compared(tmp_path):
    masks = write_disks(tmp_path / "heat42", ["a.png", "b.png"])
    for folder in ("drawn", "edited"):
        (tmp_path / folder).mkdir()
        for name, mask in masks.items():
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / folder / name)
    masks["a.png"][:3, :3] = True
    Image.fromarray(masks["a.png"]).save(tmp_path / "edited/a.png")
    scale = ("--pixel-size", "0.1um")
    first = call("heat42", "--masks", "drawn", "--output", "first", *scale, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert not any(line.endswith(" torch") for line in first.stderr.splitlines())
    second = ("heat42", "--masks", "edited", "--output", "second", *scale, "--compare-with", "first")
    done = call(*second, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Written: second/report.html"
    changes = pd.read_csv(tmp_path / "second/changes.csv")
    assert changes[["added", "removed", "redrawn", "unchanged"]].to_numpy().tolist() == [
        [1, 0, 0, 6],
        [0, 0, 0, 6],
    ]


def test_a_random_sample_of_nothing_is_a_wrong_option(tmp_path):
    done = call("heat42", "--masks", "edited", "--output", "out", "--random-sample", cwd=tmp_path)
    assert done.returncode == 2
    assert "--random-sample needs --compare-with, the results of all micrographs" in done.stderr
