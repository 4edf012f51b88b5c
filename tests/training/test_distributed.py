"""Two processes on one machine train and predict like one, and neither outlives the other."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file

from microseg.network.model_card import WeightsOrigin, write_weights_origin
from microseg.prediction.logits import read_logits

from tiny_training import ROOT, TINY, write_blobs, write_split_of

# 5 crops an epoch in steps of 4: in the last step one of two processes has no crop that counts. Without batch
# normalization no gradient is so close to zero that rounding errors decide its direction, which Adam would
# amplify.
TRAINING = TINY | {"epochs": 2, "crops_per_micrograph": 1, "batch_size": 4, "ema_decay": 0.5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_split_of(folder, write_blobs(folder, count=9))
    (folder / "metadata.csv").write_text("image_url\n")
    write_weights_origin(folder, WeightsOrigin("none", "plain"))
    return folder


class Run:
    """A folder with a parameter file, in which the stages are started as DVC starts them."""

    def __init__(self, folder: Path, data: Path, **training: object) -> None:
        self.folder, self.data = folder, data
        folder.mkdir()
        yaml = YAML()
        params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["train"].update(TRAINING | training)
        params["predict"]["subset"] = "all"
        with (folder / "params.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(params, file)

    def start(self, stage: str, *launcher: str) -> subprocess.Popen[str]:
        arguments = [f"--images={self.data}/images", f"--split={self.data}/split.csv", "--model=models"]
        if stage == "train":
            arguments += [f"--masks={self.data}/masks", "--metrics=train.json"]
            arguments += ["--history=train.csv", "--validation=validation.csv"]
            arguments += ["--crops=crops.png", "--report=training.json"]
            arguments += [f"--encoder-weights={self.data}", f"--metadata={self.data}/metadata.csv"]
        else:
            arguments += ["--logits=logits"]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, *launcher, str(ROOT / "stages" / f"{stage}.py"), *arguments],
            cwd=self.folder,
            env=environment | {"MICROSEG_HOME": str(self.folder)},
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, stage: str, *launcher: str) -> None:
        process = self.start(stage, *launcher)
        _, messages = process.communicate(timeout=120)
        assert process.returncode == 0, messages

    def log(self) -> list[dict[str, str]]:
        tables = [(self.folder / name).open(encoding="utf-8") for name in ("train.csv", "validation.csv")]
        return [row | more for row, more in zip(*map(csv.DictReader, tables), strict=True)]

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "models" / "model.safetensors")

    def logits(self) -> dict[str, np.ndarray]:
        names = sorted(path.name for path in (self.folder / "logits").glob("*.npy"))
        return {name: read_logits(self.folder / "logits", name) for name in names}


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("runs") / "alone", data)
    run.finish("train")
    run.finish("predict")
    return run


LAUNCHERS = {
    "none": (),
    "torchrun": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
    "srun": (str(ROOT / "tests" / "helpers" / "stand_in_for_srun.py"), "2"),
}


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """The same training with two processes, half the batch for each."""
    run = Run(tmp_path_factory.mktemp("runs") / "together", data, devices=2, batch_size=2)
    run.finish("train")
    return run


def test_two_processes_train_like_one(alone, together):
    for one, two in zip(alone.log(), together.log(), strict=True):
        for column in ("train_loss", "validation_loss", "validation_iou", "lr"):
            assert float(two[column]) == pytest.approx(float(one[column]), rel=1e-4), column
    for name, weights in alone.weights().items():
        assert torch.allclose(together.weights()[name], weights, atol=1e-4), name


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_predict_like_one_with_any_launcher(alone, together, launcher):
    together.finish("predict", *LAUNCHERS[launcher])
    expected, found = alone.logits(), together.logits()
    assert list(found) == list(expected)
    assert len(found) == 4
    for name, logits in expected.items():
        assert np.allclose(found[name], logits, atol=2e-3), name


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_a_wrong_number_of_processes_is_refused(alone, launcher):
    process = alone.start("predict", *LAUNCHERS[launcher])
    _, messages = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "error: train.devices, train.num_nodes: 1 x 1 processes asked for, but 2 were started" in messages
    assert len(alone.logits()) == 4


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_dies_the_other_ends_with_an_error(data, tmp_path, victim):
    run = Run(tmp_path / "run", data, devices=2, batch_size=2, epochs=1_000_000, norm_layer="batch")
    first = run.start("train")
    deadline = time.monotonic() + 120
    while not list(run.folder.glob("checkpoints/*/epoch_*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    others = psutil.Process(first.pid).children(recursive=True)
    (second,) = [process for process in others if "train.py" in " ".join(process.cmdline())]
    (second if victim else first).kill()
    try:
        _, messages = first.communicate(timeout=60)
        second.wait(timeout=60)
    finally:
        first.kill()
        if second.is_running():
            second.kill()
    assert first.returncode != 0
    assert "error: another process of this run has ended" in messages
