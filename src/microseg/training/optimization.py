"""Optimization: the initial network, its optimizer, the learning rate of each step, and the EMA of the weights."""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from microseg.common.params import TrainParams
from microseg.common.randomness import generator
from microseg.network.environment import precision_of, training_memory_format
from microseg.network.model_card import IMAGENET, Pretraining
from microseg.network.networks import EncoderNetwork, Network, build_network, check_batch_size
from microseg.network.unet import UNet
from microseg.training.data import Sample
from microseg.training.records import Weights

LR_MULTIPLIER = "lr_multiplier"
"""The key of a parameter group for the multiplier of its learning rate."""


def new_network(
    params: TrainParams, seed: int, initial_weights: Weights, pretraining: Pretraining = IMAGENET
) -> Network:
    """Return the network at the start of a training, with the same random weights for the same seed.

    `initial_weights` replace random ones. An encoder with a learning rate of 0 is frozen. InputError where the
    network does not exist, or cannot be trained on batches of `train.batch_size`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, "weights").integers(2**63)))
        network = build_network(params, pretraining, activation_checkpointing=params.activation_checkpointing)
    unexpected = network.load_state_dict(initial_weights, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"initial weights of another network: {unexpected}")
    if isinstance(network, EncoderNetwork):
        if params.encoder_lr_multiplier == 0:
            network.freeze_encoder()
        if params.devices * params.num_nodes > 1:
            freeze_unused(network)
        check_batch_size(network, params.batch_size)
    return network


def freeze_unused(network: EncoderNetwork) -> None:
    """Freeze the parameters that never get a gradient, for which several devices would wait in vain.

    Some encoders keep layers that only their classifiers used.
    """
    trial = copy.deepcopy(network).to("meta").train()
    side = network.size_multiple
    trial(torch.zeros(2, 1, side, 2 * side, device="meta")).sum().backward()
    for parameter, counterpart in zip(network.parameters(), trial.parameters(), strict=True):
        if counterpart.grad is None:
            parameter.requires_grad_(False)


def to_memory_format(network: Network, params: TrainParams, fabric: Fabric) -> Network:
    """Return the network in the memory format in which this run trains it fastest."""
    if isinstance(network, UNet):
        network.to(memory_format=training_memory_format(params.base_channels, precision_of(fabric), fabric.device))
    return network


def new_optimizer(network: Network, params: TrainParams, *, fused: bool) -> torch.optim.AdamW:
    """Return the optimizer of a training; `fused` updates all weights in one pass, which is faster."""
    groups = parameter_groups(network, params.encoder_lr_multiplier, params.weight_decay)
    return torch.optim.AdamW(groups, lr=params.lr, fused=fused)


def parameter_groups(
    network: Network, encoder_lr_multiplier: float, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Return the trained parameters in groups, those of an encoder with a multiplier of their own at the end.

    Biases and the scales of normalizations, which have one axis, do not decay (as by He et al.: Bag of tricks for
    image classification with convolutional neural networks, arXiv:1812.01187).
    """
    encoder = set(network.encoder.parameters()) if isinstance(network, EncoderNetwork) else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            multiplier = encoder_lr_multiplier if parameter in encoder else 1.0
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((multiplier, decay), []).append(parameter)
    return [
        {"params": parameters, LR_MULTIPLIER: multiplier, "weight_decay": decay}
        for (multiplier, decay), parameters in sorted(groups.items(), key=lambda group: group[0][0] != 1.0)
    ]


ScheduleName = Literal["constant", "wsd", "cosine", "one_cycle"]

# Smith and Topin (arXiv:1708.07120) increase the rate for less than half of the training: here for this fraction
# of it, from this fraction of the peak.
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of a training.

    wsd (warmup-stable-decay) stays at `lr`, then decays to zero in the last epochs, a fraction `decay_fraction` of
    all, as one minus a square root (Haegele et al., arXiv:2405.18392). cosine decays along half a cosine wave
    (Loshchilov and Hutter, arXiv:1608.03983). one_cycle rises to `lr` and decays (Smith and Topin,
    arXiv:1708.07120). All but one_cycle can start with a linear warm-up of `warmup_epochs`.
    """

    name: ScheduleName
    lr: float
    epochs: int
    steps_per_epoch: int
    warmup_epochs: int = 0
    decay_fraction: float = 0.3

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, the first of the training being 0."""
        warmup = self.warmup_epochs * self.steps_per_epoch
        warmup_factor = (step + 1) / warmup if step < warmup else 1.0
        if self.name == "wsd":
            return self.lr * warmup_factor * self._decay(step)
        if step < warmup or self.name == "constant":
            return self.lr * warmup_factor
        done = (step - warmup) / (self.epochs * self.steps_per_epoch - warmup)
        if self.name == "cosine":
            return self.lr * _half_wave(done)
        if done < ONE_CYCLE_RISE:
            return self.lr * (1 - (1 - ONE_CYCLE_START) * _half_wave(done / ONE_CYCLE_RISE))
        return self.lr * _half_wave((done - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))

    def _decay(self, step: int) -> float:
        """Return the factor of a step in wsd: 1 until the decay starts, then decreasing to 0 at the end."""
        start = shared_epochs(self.name, self.epochs, self.decay_fraction) * self.steps_per_epoch
        return 1 - math.sqrt(max(0, step - start) / (self.epochs * self.steps_per_epoch - start))


def shared_epochs(name: ScheduleName, epochs: int, decay_fraction: float) -> int:
    """Return how many of its first epochs a training of `epochs` epochs shares with all longer trainings."""
    if name == "constant":
        return epochs
    if name == "wsd":
        return epochs - max(1, round(epochs * decay_fraction))
    return 0


def _half_wave(done: float) -> float:
    """Return half a cosine wave: from 1 at `done` 0 to 0 at `done` 1."""
    return (1 + math.cos(math.pi * done)) / 2


STATISTICS_BATCHES = 32
"""Enough to estimate the statistics of a channel, of which a batch has thousands of pixels."""


class EMA:
    """An exponential moving average of weights (as the teacher of Tarvainen and Valpola, arXiv:1703.01780).

    Its `network` starts as a copy. With averaged weights, batch normalizations get other features than at any
    step, for which no average of running statistics is right: before the EMA is used they are measured again (as
    by Izmailov et al., arXiv:1803.05407).

    torch.optim.swa_utils.AveragedModel would be longer here: its first update replaces the initial weights, and
    its update_bn resets the statistics of a frozen encoder.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self.network.requires_grad_(requires_grad=False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Update the average with the weights after a step, the first of the training being 0.

        The decay warms up to `decay`, so that the initial weights are soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, weights in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(weights, 1 - decay)

    def update_batch_norm(self, fabric: Fabric, batches: DataLoader[Sample]) -> None:
        """Replace the running statistics of batch normalizations by the mean of those of these batches.

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
