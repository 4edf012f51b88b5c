"""Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167): over all devices, checkpointed, and folded away."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

NormLayer = Literal["batch", "none"]


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Shifts and scales each channel by mean and deviation of the batch; in prediction, by averages of those.

    Where several devices train together the batch is that of all of them, on GPUs and CPUs alike (torch's own
    SyncBatchNorm is for GPUs), so that a step does not depend on how its batch is spread over devices. It does
    depend on how it is spread over accumulated batches, each of which is normalised by itself.
    """

    counts_batches = True
    """Whether a batch changes the averages."""
    takes_part = True
    """Whether the batch of this device counts among those of all devices."""

    def forward(self, features: Tensor) -> Tensor:
        """Return features normalised, shape and type as they come: (batch, channels, height, width)."""
        if not self.training:
            return super().forward(features)
        if self.counts_batches:
            cast(Tensor, self.num_batches_tracked).add_(1)
        # Without a momentum all batches count alike, as in torch's own batch normalisation.
        momentum = (
            self.momentum if self.momentum is not None else 1 / float(cast(Tensor, self.num_batches_tracked))
        )
        momentum = momentum if self.counts_batches else 0.0
        if distributed.is_available() and distributed.is_initialized():
            return self._over_devices(features, momentum)
        return functional.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps
        )

    def _over_devices(self, features: Tensor, momentum: float) -> Tensor:
        values, part = features.float(), float(self.takes_part)
        count = differentiable_all_reduce(
            torch.tensor(part * values.numel() / values.shape[1], device=values.device)
        )
        mean = differentiable_all_reduce(part * values.sum(dim=(0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = differentiable_all_reduce(part * centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            cast(Tensor, self.running_mean).lerp_(mean, momentum)
            cast(Tensor, self.running_var).lerp_(variance * count / (count - 1), momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(features.dtype)


class SyncBatchNormAct2d(SyncBatchNorm2d):
    """A batch normalisation with its activation, as timm has them in one layer; the names of weights are its."""

    drop: nn.Module
    act: nn.Module

    def forward(self, features: Tensor) -> Tensor:
        """Return features normalised and activated, shape and type as they come."""
        return cast(Tensor, self.act(self.drop(super().forward(features))))


def convert_sync_batch_norm(network: nn.Module) -> None:
    """Put a BatchNormalisation, which computes the same, in the place of each of torch and timm."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.BatchNorm2d) and layer.momentum is not None and layer.affine:
            activated = {part: child for part, child in layer.named_children() if part in ("drop", "act")}
            if not activated and type(layer) is not nn.BatchNorm2d:
                continue
            kind = SyncBatchNormAct2d if activated else SyncBatchNorm2d
            own = kind(layer.num_features, layer.eps, layer.momentum)
            own.load_state_dict(layer.state_dict())
            for part, child in activated.items():
                setattr(own, part, child)
            network.set_submodule(name, own)


class _SumOverDevices(torch.autograd.Function):
    """A sum to which every device adds its part; its gradient is therefore the sum of all their gradients."""

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


def differentiable_all_reduce(values: Tensor) -> Tensor:
    """Return the sum of the devices' `values`, through which gradients flow back to all devices."""
    return cast(Tensor, _SumOverDevices.apply(values))


@contextmanager
def frozen_running_stats(network: nn.Module) -> Iterator[None]:
    """Let batches pass through the batch normalisations of `network` without a change of their averages.

    For activations that are computed a second time: their batch has been counted.
    """
    with _marked(network, "counts_batches"):
        yield


@contextmanager
def excluded_from_sync(network: nn.Module) -> Iterator[None]:
    """Let a batch pass through the batch normalisations of `network` without being counted among the devices' own.

    For a device that is left without a crop, and takes one of the others' to take part in what all do together.
    """
    with _marked(network, "takes_part"):
        yield


@contextmanager
def _marked(network: nn.Module, mark: str) -> Iterator[None]:
    layers = [layer for layer in network.modules() if isinstance(layer, SyncBatchNorm2d)]
    for layer in layers:
        setattr(layer, mark, False)
    try:
        yield
    finally:
        for layer in layers:
            setattr(layer, mark, True)


def fuse_conv_bn(network: nn.Module) -> nn.Module:
    """Return a copy, for prediction, whose batch normalisations are part of the convolutions before them.

    In prediction a batch normalisation is a fixed factor and summand for each channel. The logits stay the same up
    to rounding; what is saved is one pass over the values of every convolution.
    """
    network = copy.deepcopy(network).eval()
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential) and type(block).forward is nn.Sequential.forward:
            _fold_block(block)
    return network


def _fold_block(block: nn.Sequential) -> None:
    for number in range(len(block) - 1, 0, -1):
        convolution, normalisation = block[number - 1], block[number]
        if isinstance(convolution, nn.Conv2d) and type(normalisation) is SyncBatchNorm2d:
            block[number - 1] = fuse_conv_bn_eval(convolution, normalisation)
            # Not removed: others may know the layers behind it by their number.
            block[number] = nn.Identity()
