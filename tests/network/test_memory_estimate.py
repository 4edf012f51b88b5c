"""The memory that a training, a validation and a prediction are estimated to need is what they hold."""

import gc
import weakref
from dataclasses import dataclass, field

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from microseg.network.devices import start
from microseg.network.inputs import upsample
from microseg.network.losses import LOSSES
from microseg.network.memory import InferenceWorkload, TrainingWorkload, free_bytes
from microseg.network.sliding_window import Tiling
from microseg.network.unet import UNet
from microseg.prediction.inference import predict, predict_d4
from microseg.training.data import WholeMicrographs, loader
from microseg.training.loop import validate, validation_workload

from tiny_training import blobs, tiny_params, write_blobs


@pytest.mark.parametrize("normalisation", ["batch", "none"])
@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_the_estimate_is_what_the_network_stores(activation_checkpointing, normalisation):
    network = UNet(8, activation_checkpointing, normalisation)
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
    workload = TrainingWorkload(
        base_channels=8,
        batch_size=2,
        height=64,
        width=96,
        whole=False,
        bytes_per_number=4,
        activation_checkpointing=activation_checkpointing,
        normalised=normalisation == "batch",
    )
    # Biases and the logits are left out of the estimate.
    assert logits.requires_grad
    assert workload.needed_bytes == pytest.approx(4 * weights + activations, rel=0.01)


def living_storages() -> list[torch.UntypedStorage]:
    return [thing.untyped_storage() for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]


@dataclass
class Peak(TorchDispatchMode):
    """Keeps the largest sum of bytes that the results of operations held at once."""

    alive: list[weakref.ref[torch.Tensor]] = field(default_factory=list)
    bytes: int = 0

    def __post_init__(self):
        super().__init__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.alive += [weakref.ref(one) for one in tree_leaves(result) if isinstance(one, torch.Tensor)]
        self.alive = [reference for reference in self.alive if reference() is not None]
        storages = [one.untyped_storage() for reference in self.alive if (one := reference()) is not None]
        self.bytes = max(self.bytes, sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()))
        return result


@pytest.mark.parametrize("scale", [1, 2, 8])
@pytest.mark.parametrize("tile", [None, 32])
@pytest.mark.parametrize("tta", [False, True])
def test_the_estimate_of_a_prediction_is_what_is_held_at_once(tile, tta, scale):
    network = UNet(8).eval()
    function = predict_d4 if tta else predict
    with Peak() as peak:
        seen = torch.zeros(1, 1, 96, 128)
        logits = upsample(function(network, seen, Tiling(tile, 0.25)), (96 * scale, 128 * scale))
        del logits
    workload = InferenceWorkload(
        base_channels=8,
        height=96 * scale,
        width=128 * scale,
        bytes_per_number=4,
        tile_size=tile,
        validating=False,
        tta=tta,
        scale=scale,
    )
    assert workload.needed_bytes - 4 * workload.weights == pytest.approx(peak.bytes, rel=0.03)


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("tile", [None, 32])
def test_the_estimate_of_a_validation_is_what_is_held_at_once(tile, scale, tmp_path):
    height, width = int(96 * scale), int(128 * scale)
    write_blobs(tmp_path, count=1, height=height, width=width)
    fabric, files = start("cpu", "float32"), blobs(tmp_path, ["IMG_00001.png"])
    batches = loader(WholeMicrographs(files, "none", scale), [[0]], workers=0, pin_memory=False)
    network = UNet(8)
    with Peak() as peak:
        validate(fabric, network, batches, LOSSES["dice_bce"], 1, Tiling(tile, 0.25))
    workload = validation_workload(files, tiny_params(base_channels=8, downsample=scale), "32-true", tile)
    assert (workload.height, workload.width) == (height, width)
    assert workload.needed_bytes - 12 * workload.weights == pytest.approx(peak.bytes, rel=0.03)


def test_a_container_s_limit_counts(tmp_path):
    limit = tmp_path / "memory.max"
    cpu = torch.device("cpu")
    limit.write_text("1000\n")
    assert free_bytes(cpu, limit) == 1000
    limit.write_text("max\n")
    assert free_bytes(cpu, limit) > 1000
    assert free_bytes(cpu, tmp_path / "missing") > 1000
