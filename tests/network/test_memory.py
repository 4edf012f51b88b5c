"""An out-of-memory error names the parameters to change."""

import errno
import subprocess
import sys

import pytest
import torch

from microseg.common.errors import InputError
from microseg.common.params import PARAMETER_KEYS
from microseg.network.memory import (
    PREDICTION_REMEDIES,
    TRAINING_REMEDIES,
    VALIDATION_REMEDIES,
    out_of_memory_advice,
    peak_memory_gb,
)

from tiny_training import ROOT, write_blobs


@pytest.mark.parametrize(
    ("remedies", "parameters"),
    [
        (
            TRAINING_REMEDIES,
            [
                "train.batch_size",
                "train.crop_size",
                "train.precision",
                "train.activation_checkpointing",
                "train.base_channels",
            ],
        ),
        (VALIDATION_REMEDIES, ["predict.tile_size", "train.precision", "train.base_channels"]),
        # Nothing that would train again.
        (PREDICTION_REMEDIES, ["predict.tile_size", "predict.tta"]),
    ],
)
def test_every_remedy_starts_with_its_parameter(remedies, parameters):
    assert [remedy.split()[0] for remedy in remedies] == parameters
    assert set(parameters) <= set(PARAMETER_KEYS)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        OSError(errno.ENOMEM, "no memory"),
    ],
)
def test_out_of_memory_lists_all_remedies_in_their_order(error):
    message = (
        r"not enough memory for the training(.|\n)*\n  train\.batch_size lower(.|\n)*\n  train\.base_channels"
    )
    with pytest.raises(InputError, match=message), out_of_memory_advice("training", TRAINING_REMEDIES):
        raise error


def test_a_killed_worker_lists_the_number_of_workers_too():
    killed = RuntimeError("DataLoader worker (pid 123) is killed by signal: Bus error.")
    with (
        pytest.raises(InputError, match=r"train\.num_workers 0(.|\n)*train\.batch_size"),
        out_of_memory_advice("training", TRAINING_REMEDIES),
    ):
        raise killed


@pytest.mark.parametrize("error", [RuntimeError("something else"), OSError(errno.ENOSPC, "something else")])
def test_other_errors_are_left_alone(error):
    with (
        pytest.raises(type(error), match="something else"),
        out_of_memory_advice("training", TRAINING_REMEDIES),
    ):
        raise error


STARVED = """
import resource, sys
from pathlib import Path
from microseg.common.errors import InputError
from tiny_training import tiny_train

data, checkpoints = map(Path, sys.argv[1:])
tiny_train(data, checkpoints, epochs=1)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
try:
    tiny_train(data, checkpoints, base_channels=32, crop_size=256, batch_size=8, crops_per_micrograph=8)
except InputError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of one process")
def test_a_training_that_runs_out_of_memory_says_what_to_change(tmp_path):
    write_blobs(tmp_path / "data", count=4)
    command = [sys.executable, "-c", STARVED, tmp_path / "data", tmp_path]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests' / 'helpers'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    message = done.stderr[done.stderr.index("error: ") :]
    assert "there is not enough memory for the training" in message
    assert "train.batch_size lower, with a higher train.accumulate_grad_batches" in message


PEAK = """
import numpy as np
import psutil
import torch
from microseg.network.memory import peak_memory_gb

# Linux counts the peak of the process that started this one, too.
before = peak_memory_gb(torch.device("cpu"))
np.ones(int(before * 1e9) - psutil.Process().memory_info().rss + 100_000_000, np.uint8)
print(before, peak_memory_gb(torch.device("cpu")) - before)
"""


def test_the_peak_includes_memory_that_is_freed_again():
    environment = {"PYTHONPATH": f"{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, "-c", PEAK], env=environment, capture_output=True, check=True)
    before, growth = map(float, done.stdout.split())
    assert before > 0.05
    assert growth == pytest.approx(0.1, abs=0.03)


def test_the_peak_of_a_gpu_is_that_of_its_allocations(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 2_500_000_000)
    assert peak_memory_gb(torch.device("cuda")) == 2.5
