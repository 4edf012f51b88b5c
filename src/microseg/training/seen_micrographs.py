"""What a model was trained on looks like, written beside its weights."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from microseg.common.files import write_json
from microseg.micrographs.images import read_micrograph
from microseg.network.appearance import (
    APPEARANCE_FILE,
    ENTROPY,
    Appearance,
    entropy,
    looks_of,
    pixel_digest,
)
from microseg.network.inputs import MaskedMicrographs, network_input
from microseg.network.model_card import read_model
from microseg.network.resolution import enlarged

ENTROPY_MICROGRAPHS = 32
"""From so many validation micrographs at most the network's usual uncertainty is taken."""


def write_appearance(
    fabric: Fabric, folder: Path, training: MaskedMicrographs, validation: MaskedMicrographs
) -> None:
    """Write what a model was trained on looks like into its folder, beside the weights and the card.

    The network of the folder says how unsure it is of the validation micrographs, on the device of `fabric`.
    """
    looks, digests = [], []
    for micrograph in _micrographs(training):
        looks.append(looks_of(micrograph))
        digests.append(pixel_digest(micrograph))
    ranges = {name: _range([one[name] for one in looks]) for name in looks[0]}
    ranges[ENTROPY] = _range(_entropies(fabric, folder, validation))
    write_json(folder / APPEARANCE_FILE, asdict(Appearance(ranges, tuple(digests))))


def _micrographs(files: MaskedMicrographs) -> Iterator[NDArray[np.uint8]]:
    return (read_micrograph(files.images / name) for name in files.names)


def _entropies(fabric: Fabric, folder: Path, validation: MaskedMicrographs) -> list[float]:
    network, card = read_model(folder)
    module = fabric.to_device(network)
    # Of a large set every second or every tenth micrograph tells as much.
    step = -(-len(validation.names) // ENTROPY_MICROGRAPHS)
    some = replace(validation, names=validation.names[::step])
    values = []
    for micrograph in _micrographs(some):
        inputs = fabric.to_device(network_input(micrograph, card.grey_values, scale=card.scale)[None])
        with torch.inference_mode(), fabric.autocast():
            logits = enlarged(module(inputs), micrograph.shape)
        values.append(entropy(torch.sigmoid(logits.float() / card.temperature).cpu().numpy()))
    return values


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)
