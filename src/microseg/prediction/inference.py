"""From micrographs to logits, whole or in overlapping tiles, as they are or in all symmetries."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from microseg.common.files import output_folder
from microseg.common.params import PredictParams
from microseg.common.progress import progress
from microseg.micrographs.images import image_size, read_micrograph
from microseg.network.batch_norm import fuse_conv_bn
from microseg.network.devices import connected
from microseg.network.footprint import footprint_of
from microseg.network.inputs import InputNormalization, network_input, upsample
from microseg.network.memory import InferenceWorkload, bytes_per_number, explained, warn_if_short
from microseg.network.networks import Network
from microseg.network.sliding_window import Tiling, tiled_logits
from microseg.network.unet import UNet
from microseg.prediction.logits import write_logits

Result = TypeVar("Result")


def predict(network: nn.Module, micrographs: Tensor, tiling: Tiling) -> Tensor:
    """Return the logits, float32, of micrographs of shape (batch, 1, height, width), as `tiled_logits` does."""
    with torch.inference_mode():
        return tiled_logits(network, micrographs, tiling).float()


def predict_d4(network: nn.Module, micrographs: Tensor, tiling: Tiling) -> Tensor:
    """Return the mean of the logits that `predict` gives for the eight symmetries of the micrographs, turned back.

    A micrograph has no up or down, so that all eight are equally good views of it.
    """
    total = torch.zeros_like(micrographs)
    for quarter_turns in range(4):
        turned = torch.rot90(micrographs, quarter_turns, dims=(-2, -1))
        upright = predict(network, turned, tiling)
        mirrored = predict(network, turned.flip(-1), tiling).flip(-1)
        total += torch.rot90(upright + mirrored, -quarter_turns, dims=(-2, -1))
    return total / 8


def predict_hflip(network: nn.Module, micrographs: Tensor, tiling: Tiling) -> Tensor:
    """Return the mean of the logits that `predict` gives for the micrographs and for their mirror images."""
    mirrored = predict(network, micrographs.flip(-1), tiling).flip(-1)
    return (predict(network, micrographs, tiling) + mirrored) / 2


PREDICTIONS = {"d4": predict_d4, "hflip": predict_hflip, "none": predict}
"""The values that `predict.tta` may have."""


def write_logits_folder(
    fabric: Fabric,
    network: Network,
    input_normalization: InputNormalization,
    scale: float,
    temperature: float,
    images: Path,
    names: Sequence[str],
    folder: Path,
    params: PredictParams,
) -> None:
    """Write the logits of the micrographs `names` in `images` into `folder`, shared out among the devices.

    The folder takes its place once all devices are done; several machines need it on a disk that they share. While
    a micrograph is predicted the next one is read. The network sees micrographs at `scale`; the logits have the
    micrograph's own size. All are divided by `temperature`, above 0.

    Raises:
        InputError: a micrograph is missing or cannot be read, or there is not enough memory.
    """
    workload = workload_of(fabric, network, images, names, params, scale)
    logits_of = PREDICTIONS[params.tta]
    writing = output_folder(folder) if fabric.is_global_zero else nullcontext(folder)
    with connected(fabric), explained(workload), writing as own:
        if fabric.is_global_zero:
            warn_if_short(workload, fabric.device)
        module = fabric.to_device(fuse_conv_bn(network))
        partial = fabric.broadcast(own)
        mine = names[fabric.global_rank :: fabric.world_size]
        micrographs = prefetch(lambda name: read_micrograph(images / name), mine)
        shown = progress(mine, "logits from micrographs", shown=fabric.is_global_zero)
        for name, micrograph in zip(shown, micrographs, strict=True):
            inputs = fabric.to_device(network_input(micrograph, input_normalization, scale=scale)[None])
            with fabric.autocast():
                logits = logits_of(module, inputs, Tiling(params.tile_size, params.tile_overlap))
            logits = upsample(logits, micrograph.shape)
            write_logits(partial, name, logits[0, 0].cpu().numpy() / temperature)
        fabric.barrier()


def workload_of(
    fabric: Fabric, network: Network, images: Path, names: Sequence[str], params: PredictParams, scale: float
) -> InferenceWorkload:
    """Return what the memory of a prediction depends on; the largest micrograph stands for all."""
    height, width = max((image_size(images / name) for name in names), key=math.prod)
    return InferenceWorkload(
        base_channels=network.head.in_channels if isinstance(network, UNet) else 1,
        footprint=footprint_of(network),
        height=height,
        width=width,
        bytes_per_number=bytes_per_number(fabric.strategy.precision.precision),
        tile_size=params.tile_size,
        validating=False,
        tta=params.tta != "none",
        scale=scale,
    )


def prefetch(read: Callable[[str], Result], names: Sequence[str]) -> Iterator[Result]:
    """Yield `read(name)` for every name, in order; a thread reads the next one while this one is in use."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following: Future[Result] | None = None
        for name in names:
            current, following = following, reader.submit(read, name)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()
