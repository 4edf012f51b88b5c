"""A training that is killed and started again ends as if nothing had happened."""

import multiprocessing
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from microseg.training import checkpoints as checkpoints_module

from tiny_training import assert_same, tiny_train, write_blobs

SETTINGS = {
    "norm_layer": "batch",
    "epochs": 12,
    "base_channels": 4,
    "crops_per_micrograph": 4,
    "precision": "auto",
    "checkpoint_epochs": [5],
}


def saved_epochs(checkpoints: Path) -> int:
    return max((int(path.stem.removeprefix("epoch_")) for path in checkpoints.glob("*/epoch_*.pt")), default=0)


def train_apart(data: Path, checkpoints: Path) -> None:
    # All children of a fork server share the lock of progress bars: one killed while drawing would never free it.
    tqdm.set_lock(threading.RLock())
    checkpoints_module.SECONDS_BETWEEN_SAVES = 0
    tiny_train(data, checkpoints, **SETTINGS | {"num_workers": 1})


def start_training(data: Path, checkpoints: Path) -> BaseProcess:
    # Processes of a fork server start with torch imported and, unlike forks of this one, without its threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_training"])
    process = context.Process(target=train_apart, args=(data, checkpoints))
    process.start()
    return process


@pytest.fixture
def data(tmp_path):
    write_blobs(tmp_path / "data", count=6)
    return tmp_path / "data"


def test_killed_several_times_it_ends_in_the_same_bits(data, tmp_path):
    moments = np.random.default_rng(1)
    kills = 0
    for epoch in (0, 2, 4, 6, 8, 10):
        process = start_training(data, tmp_path / "killed")
        while saved_epochs(tmp_path / "killed") < epoch and process.is_alive():
            time.sleep(0.002)
        # From the start of the process to the middle of an epoch or of writing its checkpoint.
        process.join(moments.uniform(0, 0.1))
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
    resumed = tiny_train(data, tmp_path / "killed", **SETTINGS)
    uninterrupted = tiny_train(data, tmp_path / "uninterrupted", **SETTINGS)
    assert kills >= 3
    assert len(uninterrupted.records) == 12
    assert_same(resumed, uninterrupted)


def test_a_finished_training_is_not_trained_again(data, tmp_path):
    first = tiny_train(data, tmp_path)
    second = tiny_train(data, tmp_path)
    assert_same(first, second)
    assert first.records == second.records  # wall times included: they are those of the first


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "wsd"])
def test_schedules_that_depend_on_the_number_of_epochs_resume_too(data, tmp_path, schedule):
    settings = {"norm_layer": "batch", "schedule": schedule, "epochs": 4, "checkpoint_epochs": [2]}
    uninterrupted = tiny_train(data, tmp_path, **settings)
    for last in tmp_path.glob("*/epoch_00004*.pt"):
        last.unlink()
    assert_same(tiny_train(data, tmp_path, **settings), uninterrupted)
