"""Batch normalization (Ioffe and Szegedy, arXiv:1502.03167), synchronized over devices or fused for prediction."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from microseg.common.errors import InputError

NormLayer = Literal["batch", "none"]


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization by the mean and variance of the batch of all devices.

    A training step therefore does not depend on how its batch is spread over devices. Accumulated batches are each
    normalized on their own. torch.nn.SyncBatchNorm is for GPUs only.
    """

    updates_running_stats = True
    """Whether a batch changes the running statistics."""

    def forward(self, features: Tensor) -> Tensor:
        """Return features, (batch, channels, height, width), normalized, in the same shape and type.

        Raises:
            InputError: there is only one value per channel, which has no variance.
        """
        if not self.training:
            return super().forward(features)
        if self.updates_running_stats:
            cast(Tensor, self.num_batches_tracked).add_(1)
        # Without a momentum all batches have the same weight, as in torch's own batch normalization.
        momentum = (
            self.momentum if self.momentum is not None else 1 / float(cast(Tensor, self.num_batches_tracked))
        )
        momentum = momentum if self.updates_running_stats else 0.0
        if distributed.is_available() and distributed.is_initialized():
            return self._synchronized(features, momentum)
        if features.numel() == features.shape[1]:
            raise InputError(
                "train.batch_size: the network reduces this batch of one small crop to a single pixel, which has "
                "no variance to normalize by; raise it to 2 or more, or train on larger crops or micrographs"
            )
        return functional.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps
        )

    def _synchronized(self, features: Tensor, momentum: float) -> Tensor:
        count, mean, variance = self._statistics_of_all(features.float())
        with torch.no_grad():
            cast(Tensor, self.running_mean).lerp_(mean, momentum)
            cast(Tensor, self.running_var).lerp_(variance * count / (count - 1), momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        centered = features.float() - mean[:, None, None]
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(features.dtype)

    def _statistics_of_all(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the number of pixels on all devices, and mean and variance of each channel over all of them.

        After Chan, Golub and LeVeque: Algorithms for computing the sample variance. The American Statistician
        37:242 (1983).
        """
        channels = values.shape[1]
        own_mean = values.mean(dim=(0, 2, 3))
        own_variance = (values - own_mean[:, None, None]).square().mean(dim=(0, 2, 3))
        own_count = torch.full((1,), values.numel() / channels, device=values.device)
        gathered = differentiable_all_gather(torch.cat([own_count, own_mean, own_variance]))
        counts, means, variances = torch.split(gathered, [1, channels, channels], dim=1)
        count = counts.sum()
        mean = (counts * means).sum(dim=0) / count
        variance = (counts * (variances + (means - mean).square())).sum(dim=0) / count
        return count, mean, variance


class SyncBatchNormAct2d(SyncBatchNorm2d):
    """Batch normalization and activation in one layer, as in timm, with timm's names of weights."""

    drop: nn.Module
    act: nn.Module

    def forward(self, features: Tensor) -> Tensor:
        """Return features normalized and activated, in the same shape and type."""
        return cast(Tensor, self.act(self.drop(super().forward(features))))


def convert_sync_batch_norm(network: nn.Module) -> None:
    """Replace the batch normalizations of torch and timm in `network` by synchronized ones, in place."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.BatchNorm2d) and layer.momentum is not None and layer.affine:
            children = {key: child for key, child in layer.named_children() if key in ("drop", "act")}
            if not children and type(layer) is not nn.BatchNorm2d:
                continue
            kind = SyncBatchNormAct2d if children else SyncBatchNorm2d
            converted = kind(layer.num_features, layer.eps, layer.momentum)
            converted.load_state_dict(layer.state_dict())
            for key, child in children.items():
                setattr(converted, key, child)
            network.set_submodule(name, converted)


class _AllGather(torch.autograd.Function):
    """Stacks the values of all devices; the gradient of a device's values is the sum over all devices."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        gathered = values.new_zeros(distributed.get_world_size(), *values.shape)
        gathered[distributed.get_rank()] = values
        distributed.all_reduce(gathered)
        return gathered

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total[distributed.get_rank()]


def differentiable_all_gather(values: Tensor) -> Tensor:
    """Return the `values` of all devices along a new first axis; gradients flow back to all devices."""
    return cast(Tensor, _AllGather.apply(values))


@contextmanager
def frozen_running_stats(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of the batch normalizations in `network` as they are.

    For activations that are computed a second time: their batch has been counted already.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, SyncBatchNorm2d)]
    for layer in layers:
        layer.updates_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.updates_running_stats = True


def fuse_conv_bn(network: nn.Module) -> nn.Module:
    """Return a copy for prediction, in which convolutions include the batch normalizations that follow them.

    The logits stay the same up to rounding, and one pass over the output of every convolution is saved.
    """
    network = copy.deepcopy(network).eval()
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential) and type(block).forward is nn.Sequential.forward:
            _fuse_block(block)
    return network


def _fuse_block(block: nn.Sequential) -> None:
    for number in range(len(block) - 1, 0, -1):
        convolution, normalization = block[number - 1], block[number]
        if isinstance(convolution, nn.Conv2d) and type(normalization) is SyncBatchNorm2d:
            block[number - 1] = fuse_conv_bn_eval(convolution, normalization)
            # Not removed: the layers after it may be known by their index.
            block[number] = nn.Identity()
