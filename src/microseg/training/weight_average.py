"""The moving average of the weights over the steps of a training, which is often better than those of any step."""

import copy
from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from microseg.network.networks import Network
from microseg.training.datasets import Sample
from microseg.training.sampling import Draw, Step

STATISTICS_BATCHES = 32
"""Enough for the statistics of a channel, each from thousands of pixels a batch."""


class WeightAverage:
    """An exponential moving average of weights (as the teacher of Tarvainen and Valpola, arXiv:1703.01780).

    It holds a `network` of its own, which starts as a copy. Batch normalisations of the averaged weights see other
    values than those of any step, so that averages of the steps' statistics would not fit: they are measured anew
    (as by Izmailov et al., arXiv:1803.05407) before the average is used.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self.network.requires_grad_(requires_grad=False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step, the first of the training being 0.

        The first steps count more than `decay` lets them, so that the untrained weights are soon forgotten.
        """
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for average, weights in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(weights, share)

    def measure_statistics(self, fabric: Fabric, batches: DataLoader[Sample]) -> None:
        """Replace the statistics of batch normalisations by those of these batches, which count alike.

        Those of a frozen encoder stay.
        """
        self.network.train()
        layers = [
            layer
            for layer in self.network.modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training
        ]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
        with torch.no_grad(), fabric.autocast():
            for batch in batches if layers else ():
                self.network(fabric.to_device(batch.micrographs))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def statistics_batches(steps: Iterable[Step]) -> list[list[Draw]]:
    """Return the batches from which statistics are measured: the first of an epoch.

    The last one, which may be shorter but would count as much, is left out unless there is no other.
    """
    batches = [batch for step in steps for batch in step]
    return batches[:-1][:STATISTICS_BATCHES] or batches
