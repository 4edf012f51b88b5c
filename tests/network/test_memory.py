import errno
import gc
import subprocess
import sys

import pytest
import torch

from microseg.common.errors import InputError
from microseg.network.memory import Workload, explained, free_bytes
from microseg.network.unet import UNet

from tiny_training import ROOT, write_blobs

STUDY = Workload(
    base_channels=64,
    batch_size=16,
    height=768,
    width=1024,
    whole=True,
    bytes_per_number=4,
    activation_checkpointing=False,
)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_the_estimate_is_what_the_network_stores(activation_checkpointing):
    network = UNet(8, activation_checkpointing)
    weights = sum(weight.nbytes for weight in network.parameters())
    image = torch.zeros(2, 1, 64, 96)
    gc.collect()
    sizes: dict[int, int] = {}
    others = {storage.data_ptr() for storage in living_storages()}

    def note(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = network(image)
    # What checkpointed blocks start again from is held by functions of Python, all else by the graph.
    stored = sizes | {storage.data_ptr(): storage.nbytes() for storage in living_storages()}
    activations = sum(size for place, size in stored.items() if place not in others)
    workload = Workload(8, 2, 64, 96, False, 4, activation_checkpointing)
    # Biases and the logits are left out of the estimate.
    assert logits.requires_grad
    assert workload.needed_bytes == pytest.approx(4 * weights + activations, rel=0.01)


def living_storages() -> list[torch.UntypedStorage]:
    return [thing.untyped_storage() for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]


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


def test_what_cannot_be_changed_is_not_suggested():
    smallest = Workload(1, 1, 64, 64, False, 2, True)
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


def test_a_container_s_limit_counts(tmp_path):
    limit = tmp_path / "memory.max"
    cpu = torch.device("cpu")
    limit.write_text("1000\n")
    assert free_bytes(cpu, limit) == 1000
    limit.write_text("max\n")
    assert free_bytes(cpu, limit) > 1000
    assert free_bytes(cpu, tmp_path / "missing") > 1000


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
    assert "train.batch_size 4, with train.accumulate_batches twice as large" in message
