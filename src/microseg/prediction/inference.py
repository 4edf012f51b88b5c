"""From micrographs to logits, whole or in overlapping tiles, as they are or in all symmetries."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from microseg.common.files import output_folder
from microseg.common.params import PredictParams
from microseg.common.progress import progress
from microseg.micrographs.images import read_micrograph
from microseg.network.devices import connected
from microseg.network.inputs import GreyValues, network_input
from microseg.network.unet import UNet
from microseg.prediction.logits import write_logits


def predict(network: nn.Module, micrographs: Tensor, tile: int | None, overlap: float) -> Tensor:
    """Return the logits, float32, of micrographs of shape (batch, 1, height, width).

    Tiles of `tile` x `tile` pixels that overlap by the share `overlap` are blended with Gaussian weights, so that
    pixels near the border of a tile, which lack surroundings, count little; None predicts in one piece.
    """
    with torch.inference_mode():
        if tile is None:
            logits: Tensor = network(micrographs)
        else:
            tiled = sliding_window_inference(
                micrographs,
                roi_size=(tile, tile),
                sw_batch_size=1,
                predictor=network,
                overlap=overlap,
                mode="gaussian",
                padding_mode="replicate",
            )
            logits = cast(Tensor, tiled)
        return logits.float()


def predict_in_all_symmetries(network: nn.Module, micrographs: Tensor, tile: int | None, overlap: float) -> Tensor:
    """Return the mean of the logits that `predict` gives for the eight symmetries of the micrographs, turned back.

    A micrograph has no up or down, so that all eight are equally good views of it.
    """
    total = torch.zeros_like(micrographs)
    for quarter_turns in range(4):
        turned = torch.rot90(micrographs, quarter_turns, dims=(-2, -1))
        upright = predict(network, turned, tile, overlap)
        mirrored = predict(network, turned.flip(-1), tile, overlap).flip(-1)
        total += torch.rot90(upright + mirrored, -quarter_turns, dims=(-2, -1))
    return total / 8


def write_logits_folder(
    fabric: Fabric,
    network: UNet,
    grey_values: GreyValues,
    images: Path,
    names: Sequence[str],
    folder: Path,
    params: PredictParams,
) -> None:
    """Write the logits of the micrographs `names` in `images` into `folder`, shared out among the devices.

    The folder takes its place once all devices are done; several machines need it on a disk that they share.
    """
    module = fabric.to_device(network)
    logits_of = predict_in_all_symmetries if params.symmetries else predict
    with connected(fabric), output_folder(folder) if fabric.is_global_zero else nullcontext(folder) as own:
        partial = fabric.broadcast(own)
        mine = names[fabric.global_rank :: fabric.world_size]
        for name in progress(mine, "logits from micrographs", shown=fabric.is_global_zero):
            micrograph = network_input(read_micrograph(images / name), grey_values)
            with fabric.autocast():
                logits = logits_of(module, fabric.to_device(micrograph[None]), params.tile, params.overlap)
            write_logits(partial, name, logits[0, 0].cpu().numpy())
        fabric.barrier()
