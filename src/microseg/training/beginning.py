"""What a training begins with: an untrained network, and how fast each of its parts learns."""

import copy
from typing import Any

import torch
from lightning_fabric import Fabric

from microseg.common.params import TrainParams
from microseg.common.randomness import generator
from microseg.network.devices import precision_of
from microseg.network.networks import EncoderNetwork, Network, build_network
from microseg.network.processor import training_layout
from microseg.network.unet import UNet
from microseg.training.state import Weights

FACTOR = "factor"
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
        if params.encoder_lr == 0:
            network.freeze_encoder()
        if params.devices * params.nodes > 1:
            leave_out_unused(network)
    return network


def leave_out_unused(network: EncoderNetwork) -> None:
    """Ask for no gradient of parameters that have none: where several devices train, all wait for every gradient.

    Some encoders keep what their classifiers looked at.
    """
    empty = copy.deepcopy(network).to("meta").train()
    empty(torch.zeros(2, 1, network.multiple, 2 * network.multiple, device="meta")).sum().backward()
    for parameter, counterpart in zip(network.parameters(), empty.parameters(), strict=True):
        if counterpart.grad is None:
            parameter.requires_grad_(False)


def laid_out(network: Network, params: TrainParams, fabric: Fabric) -> Network:
    """Return a network whose weights lie in memory in the order in which this run trains it fastest."""
    if isinstance(network, UNet):
        network.to(memory_format=training_layout(params.base_channels, precision_of(fabric), fabric.device))
    return network


def new_optimizer(network: Network, params: TrainParams, *, fused: bool) -> torch.optim.AdamW:
    """Return the optimizer that a training begins with; `fused` passes once over all weights, faster."""
    groups = parameter_groups(network, params.encoder_lr)
    return torch.optim.AdamW(groups, lr=params.lr, weight_decay=params.weight_decay, fused=fused)


def parameter_groups(network: Network, encoder_lr: float) -> list[dict[str, Any]]:
    """Return the parameters that learn, an encoder's with `encoder_lr` as their share of the learning rate."""
    encoder = set(network.encoder.parameters()) if isinstance(network, EncoderNetwork) else set()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in learning if parameter not in encoder], FACTOR: 1.0},
        {"params": [parameter for parameter in learning if parameter in encoder], FACTOR: encoder_lr},
    ]
    return [group for group in groups if group["params"]]
