"""How good a network is on micrographs that it is not trained on."""

import math

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from microseg.common.params import TrainParams
from microseg.micrographs.images import image_size
from microseg.network.devices import sum_over_devices
from microseg.network.footprint import Footprint
from microseg.network.inputs import MaskedMicrographs
from microseg.network.losses import Loss
from microseg.network.memory import InferenceWorkload, bytes_per_number
from microseg.network.resolution import enlarged
from microseg.network.tiles import Tiling, tiled_logits
from microseg.training.datasets import Batch, Sample
from microseg.training.history import Validation


def validate(
    fabric: Fabric,
    network: nn.Module,
    batches: DataLoader[Sample],
    loss: Loss,
    micrographs: int,
    tiling: Tiling,
) -> Validation:
    """Measure the network on all `micrographs`; `batches` are this device's, of one whole micrograph each.

    The network sees them in the pieces that `tiling` says. Its logits are enlarged to the size of the masks where
    it sees the micrographs smaller than they are. The values of single micrographs are collected from all devices
    before they are averaged, so that the result does not depend on the number of devices.
    """
    values = torch.zeros(micrographs, 3, dtype=torch.float64, device=fabric.device)
    network.eval()
    with torch.inference_mode(), fabric.autocast():
        for number, batch in enumerate(batches):
            index = fabric.global_rank + number * fabric.world_size
            values[index] = _measure(network, fabric.to_device(batch), loss, tiling)
    network.train()
    columns = sum_over_devices(fabric, values).T.tolist()
    return Validation(*(math.fsum(column) / micrographs for column in columns))


def _measure(network: nn.Module, batch: Batch, loss: Loss, tiling: Tiling) -> torch.Tensor:
    logits = tiled_logits(network, batch.micrographs, tiling)
    logits = enlarged(logits, batch.masks.shape[-2:])
    foreground = logits > 0
    union = (foreground | batch.masks).sum()
    common = (foreground & batch.masks).sum()
    iou = torch.where(union > 0, common / union, 1.0)
    return torch.stack([loss(logits, batch.masks)[0], iou, foreground.float().mean()])


def validation_workload(
    validation: MaskedMicrographs,
    params: TrainParams,
    precision: str,
    tile: int | None,
    footprint: Footprint | None = None,
) -> InferenceWorkload:
    """Return what the memory of a validation depends on: the largest micrograph, and the tiles it is cut into."""
    sizes = (image_size(validation.images / name) for name in validation.names)
    height, width = max(sizes, key=math.prod)
    return InferenceWorkload(
        base_channels=params.base_channels,
        footprint=footprint,
        height=height,
        width=width,
        bytes_per_number=bytes_per_number(precision),
        tile=tile,
        validating=True,
        scale=params.scale,
    )
