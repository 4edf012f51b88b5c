"""The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015, arXiv:1505.04597), as the study used it."""

import math
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from microseg.network.batch_norm import NormLayer, SyncBatchNorm2d, frozen_running_stats

LEVELS = 5
SIZE_MULTIPLE = 2 ** (LEVELS - 1)
"""Height and width inside the network are multiples of this; other sizes are padded to the next multiple."""


class DoubleConvolution(nn.Sequential):
    """Two 3 x 3 convolutions that keep height and width, each followed by `norm_layer` and a ReLU."""

    def __init__(self, inputs: int, outputs: int, norm_layer: NormLayer) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            # Batch normalization subtracts any bias of the convolution, and adds one of its own.
            layers.append(nn.Conv2d(channels, outputs, kernel_size=3, padding=1, bias=norm_layer == "none"))
            layers += [SyncBatchNorm2d(outputs)] if norm_layer == "batch" else []
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UNet(nn.Module):
    """A U-Net of five levels: `base_channels` channels at the first one, twice as many at each following one.

    Maps micrographs, (batch, 1, height, width) of normalized grey values, to logits of the same shape, for any
    height and width. 64 base channels without batch normalization are the study's network of 31.0 million weights;
    with batch normalization it learns several times as fast.

    With `activation_checkpointing` the activations inside a double convolution are computed again in the backward
    pass instead of being stored (Chen et al., arXiv:1604.06174); the gradients stay the same.
    """

    def __init__(
        self,
        base_channels: int = 64,
        activation_checkpointing: bool = False,
        norm_layer: NormLayer = "none",
    ) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        widths = [base_channels * 2**level for level in range(LEVELS)]
        self.encoders = nn.ModuleList(
            DoubleConvolution(inputs, outputs, norm_layer)
            for inputs, outputs in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.upsamplers = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, kernel_size=2, stride=2) for width in reversed(widths[:-1])
        )
        self.decoders = nn.ModuleList(
            DoubleConvolution(2 * width, width, norm_layer) for width in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(base_channels, 1, kernel_size=1)
        self.apply(init_weights)
        # Convolutions are faster in this format, on CPUs and GPUs alike, with one exception:
        # training_memory_format.
        self.to(memory_format=torch.channels_last)

    def forward(self, micrographs: Tensor) -> Tensor:
        """Return the logits, (batch, 1, height, width): positive where the network sees foreground."""
        features = pad_to_multiple(micrographs)
        skips = []
        for encoder in self.encoders[:-1]:
            features = self._run(encoder, features)
            skips.append(features)
            features = self.pool(features)
        features = self._run(self.encoders[-1], features)
        for upsampler, decoder in zip(self.upsamplers, self.decoders, strict=True):
            features = self._run(decoder, torch.cat([skips.pop(), upsampler(features)], dim=1))
        return crop_padding(self.head(features), micrographs)

    def _run(self, block: nn.Module, features: Tensor) -> Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return run_checkpointed(block, features)
        return cast(Tensor, block(features))


def run_checkpointed(block: nn.Module, features: Tensor) -> Tensor:
    """Return `block(features)`; only `features` are stored, all activations are computed again when needed."""
    settings: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    # The compiler does not support contexts, and updates running statistics only once by itself.
    if not torch.compiler.is_compiling():
        settings["context_fn"] = lambda: (nullcontext(), frozen_running_stats(block))
    return cast(Tensor, checkpoint(block, features, **settings))


def init_weights(module: nn.Module) -> None:
    """Initialize the weights of a convolution as the U-Net's authors did: normal, with a variance of 2 / N.

    N is the number of inputs of one output value (He et al., arXiv:1502.01852); biases are 0. Without batch
    normalization this decides how soon the network starts to learn.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        # The kernel of an up-convolution is as wide as its stride, so that each output has one input pixel.
        pixels = 1 if isinstance(module, nn.ConvTranspose2d) else math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * pixels)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def pad_to_multiple(images: Tensor, multiple: int = SIZE_MULTIPLE) -> Tensor:
    """Pad (..., height, width) with border pixels on all sides until both are multiples of `multiple`."""
    height, width = images.shape[-2:]
    margins = (*_margin(width, multiple), *_margin(height, multiple))
    return functional.pad(images, margins, mode="replicate") if any(margins) else images


def crop_padding(logits: Tensor, images: Tensor, multiple: int = SIZE_MULTIPLE) -> Tensor:
    """Return the logits of `images` from the logits of the padded images."""
    height, width = images.shape[-2:]
    top, left = _margin(height, multiple)[0], _margin(width, multiple)[0]
    return logits[..., top : top + height, left : left + width]


def _margin(size: int, multiple: int) -> tuple[int, int]:
    missing = -size % multiple
    return missing // 2, missing - missing // 2
