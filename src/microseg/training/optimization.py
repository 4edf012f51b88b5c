"""Optimization: the untrained network, its optimizer, the learning rate of each step, and the EMA of weights."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from microseg.common.params import TrainParams
from microseg.common.randomness import generator
from microseg.network.environment import precision_of, training_layout
from microseg.network.networks import EncoderNetwork, Network, build_network
from microseg.network.unet import UNet
from microseg.training.data import Draw, Sample, Step
from microseg.training.records import Weights

LR_MULTIPLIER = "factor"
"""What a group of the optimizer's parameters calls its share of the learning rate."""


def new_network(params: TrainParams, seed: int, first_weights: Weights) -> Network:
    """Return the network that a training begins with, with the same weights for the same seed.

    `first_weights` take the place of random ones. An encoder that is not to learn is frozen.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, "weights").integers(2**63)))
        network = build_network(params, params.activation_checkpointing)
    unknown = network.load_state_dict(first_weights, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"first weights of another network: {unknown}")
    if isinstance(network, EncoderNetwork):
        if params.encoder_lr_multiplier == 0:
            network.freeze_encoder()
        if params.devices * params.num_nodes > 1:
            freeze_unused(network)
    return network


def freeze_unused(network: EncoderNetwork) -> None:
    """Ask for no gradient of parameters that have none: where several devices train, all wait for every gradient.

    Some encoders keep what their classifiers looked at.
    """
    empty = copy.deepcopy(network).to("meta").train()
    empty(torch.zeros(2, 1, network.multiple, 2 * network.multiple, device="meta")).sum().backward()
    for parameter, counterpart in zip(network.parameters(), empty.parameters(), strict=True):
        if counterpart.grad is None:
            parameter.requires_grad_(False)


def to_memory_format(network: Network, params: TrainParams, fabric: Fabric) -> Network:
    """Return a network whose weights lie in memory in the order in which this run trains it fastest."""
    if isinstance(network, UNet):
        network.to(memory_format=training_layout(params.base_channels, precision_of(fabric), fabric.device))
    return network


def new_optimizer(network: Network, params: TrainParams, *, fused: bool) -> torch.optim.AdamW:
    """Return the optimizer that a training begins with; `fused` passes once over all weights, faster."""
    groups = parameter_groups(network, params.encoder_lr_multiplier)
    return torch.optim.AdamW(groups, lr=params.lr, weight_decay=params.weight_decay, fused=fused)


def parameter_groups(network: Network, encoder_lr_multiplier: float) -> list[dict[str, Any]]:
    """Return the parameters that are trained; those of an encoder with `encoder_lr_multiplier`."""
    encoder = set(network.encoder.parameters()) if isinstance(network, EncoderNetwork) else set()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in learning if parameter not in encoder], LR_MULTIPLIER: 1.0},
        {
            "params": [parameter for parameter in learning if parameter in encoder],
            LR_MULTIPLIER: encoder_lr_multiplier,
        },
    ]
    return [group for group in groups if group["params"]]


ScheduleName = Literal["constant", "wsd", "cosine", "one_cycle"]

# Smith and Topin (arXiv:1708.07120) rise for less than half of the training, here for this share of it, from this
# share of the largest learning rate.
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of a training.

    constant stays at `lr`; wsd stays there until it falls to zero in the last epochs, a share `fall` of
    them, as one minus a square root (Haegele et al., arXiv:2405.18392); cosine falls from it to zero along half a
    wave (Loshchilov and Hutter, arXiv:1608.03983); one_cycle rises to it and falls to zero (Smith and Topin,
    arXiv:1708.07120). All but one_cycle can rise in a straight line for `warmup_epochs` first.
    """

    name: ScheduleName
    lr: float
    epochs: int
    steps_per_epoch: int
    warmup_epochs: int = 0
    fall: float = 0.3

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, the first of the training being 0."""
        warmup = self.warmup_epochs * self.steps_per_epoch
        rise = (step + 1) / warmup if step < warmup else 1.0
        if self.name == "wsd":
            return self.lr * rise * self._fall(step)
        if step < warmup or self.name == "constant":
            return self.lr * rise
        done = (step - warmup) / (self.epochs * self.steps_per_epoch - warmup)
        if self.name == "cosine":
            return self.lr * _half_wave(done)
        if done < ONE_CYCLE_RISE:
            return self.lr * (1 - (1 - ONE_CYCLE_START) * _half_wave(done / ONE_CYCLE_RISE))
        return self.lr * _half_wave((done - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))

    def _fall(self, step: int) -> float:
        """Fall from 1 to 0 between the last step that is shared with longer trainings and the end."""
        start = shared_epochs(self.name, self.epochs, self.fall) * self.steps_per_epoch
        return 1 - math.sqrt(max(0, step - start) / (self.epochs * self.steps_per_epoch - start))


def shared_epochs(name: ScheduleName, epochs: int, fall: float) -> int:
    """Return how many of its first epochs a training of `epochs` epochs shares with all longer ones."""
    if name == "constant":
        return epochs
    if name == "wsd":
        return epochs - max(1, round(epochs * fall))
    return 0


def _half_wave(done: float) -> float:
    """Fall from 1 to 0 while `done` goes from 0 to 1."""
    return (1 + math.cos(math.pi * done)) / 2


STATISTICS_BATCHES = 32
"""Enough for the statistics of a channel, each from thousands of pixels a batch."""


class EMA:
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
