"""Reading and writing a trained network: its weights, and the card that says how to rebuild it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from microseg.common.errors import InputError
from microseg.common.files import file_digest, write_json
from microseg.common.params import PLAIN_ENCODER, TrainParams
from microseg.network.inputs import MaskedMicrographs
from microseg.network.model_card import (
    CARD_FILE,
    NO_WEIGHTS,
    OLDER_CARD_FILE,
    Environment,
    ModelCard,
    card_path,
    read_card,
)
from microseg.network.networks import EncoderNetwork, Network, build_network
from microseg.network.unet import UNet

WEIGHTS_FILE = "model.safetensors"
OLDER_WEIGHTS_FILE = "unet.pt"


NOT_OF_THE_NETWORK = {"pixel_size_um", "num_workers", "checkpoint_epochs"}
"""Parameters of the training that are not in the card: with other values, predictions stay what they are."""


def describe(
    epoch: int,
    validation_iou: float,
    training: MaskedMicrographs,
    validation: MaskedMicrographs,
    params: TrainParams,
    seed: int,
    environment: Environment,
    encoder_weights: Mapping[str, Any] = NO_WEIGHTS,
) -> ModelCard:
    """Return the card of the weights after `epoch`; `encoder_weights` is its entry of the initial weights."""
    used = {"precision": environment.precision, "accelerator": environment.accelerator}
    return ModelCard(
        network=(UNet if params.encoder == PLAIN_ENCODER else EncoderNetwork).__name__,
        architecture=params.architecture,
        encoder=params.encoder,
        encoder_weights=dict(encoder_weights),
        base_channels=params.base_channels,
        norm_layer=params.norm_layer,
        input_normalization=params.input_normalization,
        epoch=epoch,
        validation_iou=validation_iou,
        seed=seed,
        training=params.model_dump(exclude=NOT_OF_THE_NETWORK) | used,
        training_micrographs=training.names,
        validation_micrographs=validation.names,
        environment=environment,
        downsample=params.downsample,
    )


def write_model(folder: Path, weights: dict[str, Tensor], card: ModelCard) -> None:
    """Write weights and card into `folder`, which exists; equal weights give equal bytes."""
    path = folder / WEIGHTS_FILE
    # Not save_file: it makes a file that only its owner may read.
    path.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}))
    write_json(folder / CARD_FILE, asdict(card) | {"weights_sha256": file_digest(path)})


def read_model(folder: Path) -> tuple[Network, ModelCard]:
    """Return the network in `folder`, ready to predict, and its card; nothing is downloaded.

    Raises:
        InputError: a file is missing or broken, or the weights are not those that the card describes.
    """
    card = read_card(folder)
    is_older = card_path(folder).name == OLDER_CARD_FILE
    path = folder / (OLDER_WEIGHTS_FILE if is_older else WEIGHTS_FILE)
    mismatch = f"{path}: not the weights that {card_path(folder)} describes; rerun the stage train"
    if not path.is_file() or file_digest(path) != card.weights_sha256:
        raise InputError(mismatch)
    network = build_network(card, card.pretraining)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True) if is_older else load_file(path)
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{mismatch} ({error})") from error
    return network.eval(), card
