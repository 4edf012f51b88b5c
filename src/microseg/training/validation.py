"""How good a network is on micrographs that it is not trained on."""

import math

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from microseg.network.devices import sum_over_devices
from microseg.network.losses import Loss
from microseg.training.datasets import Batch, Sample
from microseg.training.history import Validation


def validate(
    fabric: Fabric, network: nn.Module, batches: DataLoader[Sample], loss: Loss, micrographs: int
) -> Validation:
    """Measure the network on all `micrographs`, whole ones; `batches` are this device's, of one micrograph each.

    The values of single micrographs are collected from all devices before they are averaged, so that the result
    does not depend on the number of devices.
    """
    values = torch.zeros(micrographs, 3, dtype=torch.float64, device=fabric.device)
    network.eval()
    with torch.inference_mode(), fabric.autocast():
        for number, batch in enumerate(batches):
            index = fabric.global_rank + number * fabric.world_size
            values[index] = _measure(network, fabric.to_device(batch), loss)
    network.train()
    columns = sum_over_devices(fabric, values).T.tolist()
    return Validation(*(math.fsum(column) / micrographs for column in columns))


def _measure(network: nn.Module, batch: Batch, loss: Loss) -> torch.Tensor:
    logits = network(batch.micrographs)
    foreground = logits > 0
    union = (foreground | batch.masks).sum()
    overlap = (foreground & batch.masks).sum()
    iou = torch.where(union > 0, overlap / union, 1.0)
    return torch.stack([loss(logits, batch.masks)[0], iou, foreground.float().mean()])
