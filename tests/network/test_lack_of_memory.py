"""Whoever runs out of memory is told which parameters to change, and what each of them saves."""

import errno
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from microseg.common.errors import InputError
from microseg.network.memory import InferenceWorkload, TrainingWorkload, explained

from tiny_training import ROOT, write_blobs

STUDY = TrainingWorkload(
    base_channels=64,
    batch_size=16,
    height=768,
    width=1024,
    whole=True,
    bytes_per_number=4,
    activation_checkpointing=False,
)


def test_every_remedy_names_its_parameter_and_what_it_saves():
    lines = STUDY.remedies()
    parameters = [
        "batch_size 8",
        "crop 256",
        "precision bf16",
        "activation_checkpointing true",
        "base_channels 32",
    ]
    assert all(line.startswith(f"train.{name}") for line, name in zip(lines, parameters, strict=True))
    assert all("saves about" in line for line in lines)
    # Half of the batch saves half of the activations, which are nearly all of it; a crop of 256 all but a twelfth.
    saved = [float(line.split("saves about ")[1].split()[0]) for line in lines]
    assert saved[0] == pytest.approx(STUDY.needed_bytes / 2e9, rel=0.05)
    assert saved[1] == pytest.approx(STUDY.needed_bytes / 1e9 * 11 / 12, rel=0.05)


MOSAIC = InferenceWorkload(
    base_channels=16, height=6000, width=8000, bytes_per_number=4, tile_size=None, validating=True
)


def test_a_validation_that_is_too_large_is_told_of_tiles_first():
    lines = MOSAIC.remedies()
    parameters = ["predict.tile_size 1024", "train.precision bf16", "train.base_channels 8"]
    assert all(line.startswith(name) for line, name in zip(lines, parameters, strict=True))
    # 16 channels of 48 million pixels: 4.5 x 16 x 4 bytes each, of which tiles leave a forty-fifth and two maps.
    assert float(lines[0].split("saves about ")[1].split()[0]) == pytest.approx(13, rel=0.03)
    message = r"validating 16 base channels on a micrograph of 6000 x 8000 pixels in one piece"
    with pytest.raises(InputError, match=message), explained(MOSAIC):
        raise MemoryError


def test_tiles_are_of_what_the_network_sees():
    lines = replace(MOSAIC, width=512, height=512, scale=2.0).remedies()
    assert lines[0].startswith("predict.tile_size 128:")


def test_where_no_parameter_helps_none_is_named():
    tiled = replace(MOSAIC, base_channels=1, bytes_per_number=2, tile_size=64)
    assert tiled.remedies() == []
    with (
        pytest.raises(InputError, match=r"GB; use smaller micrographs or a machine with more memory$"),
        explained(tiled),
    ):
        raise MemoryError


@pytest.mark.parametrize(
    ("tile", "width", "smaller"),
    [(None, 8000, "1024"), (None, 256, "128"), (None, 100, None), (512, 1000, "256"), (640, 1000, "256")],
)
def test_the_tile_to_try_next(tile, width, smaller):
    lines = replace(MOSAIC, width=width, height=width, tile_size=tile).remedies()
    suggested = [line.split(":")[0].removeprefix("predict.tile_size ") for line in lines if "tile" in line]
    assert suggested == ([smaller] if smaller else [])


def test_a_prediction_is_told_nothing_that_trains_anew():
    lines = replace(MOSAIC, validating=False, tta=True).remedies()
    assert [line.split(" ")[0] for line in lines] == ["predict.tile_size", "predict.tta"]


def test_what_cannot_be_changed_is_not_suggested():
    smallest = replace(
        STUDY,
        base_channels=1,
        batch_size=1,
        height=64,
        width=64,
        whole=False,
        bytes_per_number=2,
        activation_checkpointing=True,
    )
    assert smallest.remedies() == []


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), OSError(errno.ENOMEM, "no memory")]
)
def test_lack_of_memory_is_explained(error):
    with pytest.raises(InputError, match=r"not enough memory(.|\n)*train\.batch_size 8"), explained(STUDY):
        raise error


def test_a_killed_reader_is_explained():
    killed = RuntimeError("DataLoader worker (pid 123) is killed by signal: Bus error.")
    with pytest.raises(InputError, match=r"train\.workers 0"), explained(STUDY):
        raise killed


@pytest.mark.parametrize("error", [RuntimeError("something else"), OSError(errno.ENOSPC, "something else")])
def test_other_errors_are_left_alone(error):
    with pytest.raises(type(error), match="something else"), explained(STUDY):
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
    tiny_train(data, checkpoints, base_channels=32, crop=256, batch_size=8, crops_per_micrograph=8)
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
    assert "there is not enough memory: training 32 base channels with 8 x 256 x 256 pixels" in message
    assert "train.batch_size 4, with train.accumulate_grad_batches twice as large" in message
