"""A trained network on disk: its weights, and a card that says how to rebuild it and where it comes from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microseg.common.errors import InputError
from microseg.common.files import file_digest, write_json
from microseg.common.params import TrainParams
from microseg.network.inputs import MaskedMicrographs, GreyValues
from microseg.network.normalisation import Normalisation
from microseg.network.unet import UNet

WEIGHTS_FILE, CARD_FILE = "unet.pt", "unet.json"


@dataclass(frozen=True)
class ModelCard:
    """What is written beside the weights as JSON."""

    network: str
    """Always "UNet", of `microseg.network.unet`."""
    base_channels: int
    normalisation: Normalisation
    """The arguments the network is rebuilt with."""
    grey_values: GreyValues
    """What is done to a micrograph before the network sees it."""
    epoch: int
    """The epoch the weights are from."""
    validation_iou: float
    """Mean IoU of the validation micrographs at that epoch."""
    seed: int
    training: dict[str, Any]
    """The section `train` of the parameters."""
    training_micrographs: tuple[str, ...]
    validation_micrographs: tuple[str, ...]
    torch: str
    """The version of torch that trained it."""
    weights_sha256: str = ""
    """Digest of the file of weights; filled in when it is written."""


def describe(
    epoch: int,
    validation_iou: float,
    training: MaskedMicrographs,
    validation: MaskedMicrographs,
    params: TrainParams,
    seed: int,
) -> ModelCard:
    """Return the card of the weights after an epoch with that mean IoU on the validation micrographs."""
    return ModelCard(
        network=UNet.__name__,
        base_channels=params.base_channels,
        normalisation=params.normalisation,
        grey_values=params.grey_values,
        epoch=epoch,
        validation_iou=validation_iou,
        seed=seed,
        training=params.model_dump(),
        training_micrographs=training.names,
        validation_micrographs=validation.names,
        torch=torch.__version__,
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
    card_path, weights_path = folder / CARD_FILE, folder / WEIGHTS_FILE
    try:
        content = json.loads(card_path.read_text(encoding="utf-8"))
        for key in ("training_micrographs", "validation_micrographs"):
            content[key] = tuple(content[key])
        card = ModelCard(**_with_newer_keys(content))
    except FileNotFoundError:
        raise InputError(f"{card_path}: no such model card; run the stage train") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{card_path}: not a model card ({error}); rerun the stage train") from error
    if not weights_path.is_file() or file_digest(weights_path) != card.weights_sha256:
        raise InputError(f"{weights_path}: not the weights that {card_path} describes; rerun the stage train")
    network = UNet(card.base_channels, normalisation=card.normalisation)
    network.load_state_dict(torch.load(weights_path, map_location="cpu", weights_only=True))
    return network.eval(), card


def _with_newer_keys(content: dict[str, Any]) -> dict[str, Any]:
    """Return a card as it would be written today: older ones know no normalisation layers."""
    if "normalization" in content:
        content["grey_values"] = content.pop("normalization")
    return {"normalisation": "none"} | content
