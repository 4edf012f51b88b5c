"""Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167): over all devices, checkpointed, and folded away."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

Normalisation = Literal["batch", "none"]


class BatchNormalisation(nn.BatchNorm2d):
    """Shifts and scales each channel by mean and deviation of the batch; in prediction, by averages of those.

    Where several devices train together the batch is that of all of them, on GPUs and CPUs alike (torch's own
    SyncBatchNorm is for GPUs), so that a step does not depend on how its batch is spread over devices. It does
    depend on how it is spread over accumulated batches, each of which is normalised by itself. A device that is
    left without a crop takes part with one of the others' crops, which then counts twice in the statistics.
    """

    counts_batches = True
    """Whether a batch changes the averages."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalised features, of the shape and type of `features`: (batch, channels, height, width)."""
        if not self.training:
            return super().forward(features)
        if self.counts_batches:
            cast(Tensor, self.num_batches_tracked).add_(1)
        momentum = cast(float, self.momentum) if self.counts_batches else 0.0
        if distributed.is_available() and distributed.is_initialized():
            return self._over_devices(features, momentum)
        return functional.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps
        )

    def _over_devices(self, features: Tensor, momentum: float) -> Tensor:
        values = features.float()
        count = sum_over_devices(torch.tensor(values.numel() / values.shape[1], device=values.device))
        mean = sum_over_devices(values.sum(dim=(0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = sum_over_devices(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            cast(Tensor, self.running_mean).lerp_(mean, momentum)
            cast(Tensor, self.running_var).lerp_(variance * count / (count - 1), momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(features.dtype)


class _SumOverDevices(torch.autograd.Function):
    """A sum to which every device adds its part, and whose gradient is therefore the sum of all their gradients."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def sum_over_devices(values: Tensor) -> Tensor:
    """Return the sum of the devices' `values`, through which gradients flow back to all devices."""
    return cast(Tensor, _SumOverDevices.apply(values))  # type: ignore[no-untyped-call]


@contextmanager
def averages_kept(network: nn.Module) -> Iterator[None]:
    """Let batches pass through the batch normalisations of `network` without a change of their averages.

    For activations that are computed a second time: their batch has been counted.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, BatchNormalisation)]
    for layer in layers:
        layer.counts_batches = False
    try:
        yield
    finally:
        for layer in layers:
            layer.counts_batches = True


def folded(network: nn.Module) -> nn.Module:
    """Return a copy of a network for prediction whose batch normalisations are part of the convolutions before them.

    In prediction a batch normalisation is a fixed factor and summand for each channel. The logits stay the same up
    to rounding; what is saved is one pass over the values of every convolution.
    """
    network = copy.deepcopy(network).eval()
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential):
            _fold_block(block)
    return network


def _fold_block(block: nn.Sequential) -> None:
    for number in range(len(block) - 1, 0, -1):
        convolution, normalisation = block[number - 1], block[number]
        if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
            block[number - 1] = fuse_conv_bn_eval(convolution, normalisation)
            del block[number]
