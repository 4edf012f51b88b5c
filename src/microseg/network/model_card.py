"""A trained network on disk: its weights, and a card that says how to rebuild it and where it comes from."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from microseg.common.errors import InputError
from microseg.common.files import file_digest, write_json
from microseg.common.params import TrainParams
from microseg.network.card import CARD_FILE, ModelCard, Provenance, read_card
from microseg.network.inputs import MaskedMicrographs
from microseg.network.unet import UNet

WEIGHTS_FILE = "unet.pt"


def describe(
    epoch: int,
    validation_iou: float,
    training: MaskedMicrographs,
    validation: MaskedMicrographs,
    params: TrainParams,
    seed: int,
    computed_with: Provenance,
) -> ModelCard:
    """Return the card of the weights after an epoch with that mean IoU on the validation micrographs."""
    used = {"precision": computed_with.precision, "accelerator": computed_with.accelerator}
    return ModelCard(
        network=UNet.__name__,
        base_channels=params.base_channels,
        normalisation=params.normalisation,
        grey_values=params.grey_values,
        epoch=epoch,
        validation_iou=validation_iou,
        seed=seed,
        training=params.model_dump() | used,
        training_micrographs=training.names,
        validation_micrographs=validation.names,
        computed_with=computed_with,
        scale=params.scale,
    )


def write_model(folder: Path, weights: dict[str, Tensor], card: ModelCard) -> None:
    """Write the weights and the card into `folder`, which exists; equal weights give equal bytes."""
    path = folder / WEIGHTS_FILE
    # Given a path instead of an open file, torch writes the name of the file into it.
    with path.open("wb") as file:
        torch.save(weights, file)
    write_json(folder / CARD_FILE, asdict(card) | {"weights_sha256": file_digest(path)})


def read_model(folder: Path) -> tuple[UNet, ModelCard]:
    """Rebuild the network that `write_model` wrote, with its weights, ready to predict.

    Raises:
        InputError: a file is missing, or the two do not belong together.
    """
    card = read_card(folder)
    weights_path = folder / WEIGHTS_FILE
    if not weights_path.is_file() or file_digest(weights_path) != card.weights_sha256:
        raise InputError(
            f"{weights_path}: not the weights that {folder / CARD_FILE} describes; rerun the stage train"
        )
    network = UNet(card.base_channels, normalisation=card.normalisation)
    network.load_state_dict(torch.load(weights_path, map_location="cpu", weights_only=True))
    return network.eval(), card
