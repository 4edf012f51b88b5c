"""From micrographs to logits: whole or in tiles, with or without test-time augmentation (TTA)."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from microseg.common.files import output_folder, write_json
from microseg.common.params import PredictParams
from microseg.common.progress import progress
from microseg.micrographs.images import read_micrograph
from microseg.network.batch_norm import fuse_conv_bn
from microseg.network.devices import connected
from microseg.network.inputs import network_input, upsample
from microseg.network.memory import PREDICTION_REMEDIES, out_of_memory_advice
from microseg.network.model_card import ModelCard
from microseg.network.networks import Network
from microseg.network.sliding_window import Tiling, tiled_logits
from microseg.prediction.logits import SETTINGS_FILE, write_logits

Result = TypeVar("Result")


def predict(network: nn.Module, micrographs: Tensor, tiling: Tiling) -> Tensor:
    """Return the logits, float32, of micrographs of shape (batch, 1, height, width)."""
    with torch.inference_mode():
        return tiled_logits(network, micrographs, tiling).float()


def predict_d4(network: nn.Module, micrographs: Tensor, tiling: Tiling) -> Tensor:
    """Return the mean of the logits of all eight rotations and reflections of the micrographs, turned back."""
    total = torch.zeros_like(micrographs)
    for quarter_turns in range(4):
        rotated = torch.rot90(micrographs, quarter_turns, dims=(-2, -1))
        logits = predict(network, rotated, tiling)
        mirrored = predict(network, rotated.flip(-1), tiling).flip(-1)
        total += torch.rot90(logits + mirrored, -quarter_turns, dims=(-2, -1))
    return total / 8


def predict_hflip(network: nn.Module, micrographs: Tensor, tiling: Tiling) -> Tensor:
    """Return the mean of the logits of the micrographs and of their mirror images, left and right exchanged."""
    mirrored = predict(network, micrographs.flip(-1), tiling).flip(-1)
    return (predict(network, micrographs, tiling) + mirrored) / 2


PREDICTIONS = {"d4": predict_d4, "hflip": predict_hflip, "none": predict}
"""The values of `predict.tta`."""


def predict_micrograph(
    fabric: Fabric, network: nn.Module, card: ModelCard, micrograph: NDArray[np.uint8], params: PredictParams
) -> NDArray[np.float32]:
    """Return the logits of a micrograph, both (height, width), divided by the temperature if `params` says so.

    The network sees it normalized and downsampled as its `card` says.
    """
    inputs = fabric.to_device(network_input(micrograph, card.input_normalization, factor=card.downsample)[None])
    with fabric.autocast():
        logits = PREDICTIONS[params.tta](network, inputs, Tiling(params.tile_size, params.tile_overlap))
    values: NDArray[np.float32] = upsample(logits, micrograph.shape)[0, 0].cpu().numpy()
    return values / np.float32(temperature_of(card, params))


def temperature_of(card: ModelCard, params: PredictParams) -> float:
    """Return what the logits of a network are divided by."""
    return card.temperature if params.temperature_scaling else 1.0


def write_logits_folder(
    fabric: Fabric,
    network: Network,
    card: ModelCard,
    images: Path,
    names: Sequence[str],
    folder: Path,
    params: PredictParams,
) -> None:
    """Write the logits of the micrographs `names` in `images` into `folder`, distributed over the devices.

    The folder, which also gets SETTINGS_FILE, is replaced once all devices are done; several machines need it on a
    shared disk.

    Raises:
        InputError: a micrograph is missing or cannot be read, or there is not enough memory.
    """
    output = output_folder(folder) if fabric.is_global_zero else nullcontext(folder)
    with connected(fabric), out_of_memory_advice("prediction", PREDICTION_REMEDIES), output as own_partial:
        module = fabric.to_device(fuse_conv_bn(network))
        partial = fabric.broadcast(own_partial)
        own_names = names[fabric.global_rank :: fabric.world_size]
        micrographs = prefetch(lambda name: read_micrograph(images / name), own_names)
        shown = progress(own_names, "logits from micrographs", shown=fabric.is_global_zero)
        for name, micrograph in zip(shown, micrographs, strict=True):
            write_logits(partial, name, predict_micrograph(fabric, module, card, micrograph, params))
        if fabric.is_global_zero:
            # The best threshold is one of undivided logits, and is divided as they are.
            temperature = temperature_of(card, params)
            scale = {"temperature": temperature, "best_logit": card.best_logit / temperature}
            write_json(partial / SETTINGS_FILE, {"predict": params.model_dump(), **scale})
        fabric.barrier()


def prefetch(read: Callable[[str], Result], names: Sequence[str]) -> Iterator[Result]:
    """Yield `read(name)` for every name, in order; a thread reads the next one while one is in use."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following: Future[Result] | None = None
        for name in names:
            current, following = following, reader.submit(read, name)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()
