"""The model card, stored as JSON beside the weights, and the origin of initial weights; neither needs torch.

The folder data/encoder_weights always holds origin.json, the origin of the weights. Unless the origin is none, it
also holds the file `weights` as it was fetched, or the folder `model`, a copy of a trained model.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from microseg.common.errors import InputError
from microseg.common.files import write_json
from microseg.common.params import PLAIN_ENCODER

CARD_FILE = "model.json"
OLDER_CARD_FILE = "unet.json"

OLDER_KEYS = {
    "normalization": "input_normalization",
    "grey_values": "input_normalization",
    "normalisation": "norm_layer",
    "scale": "downsample",
    "computed_with": "environment",
}
"""Names of keys of the card before version 0.2, and their names since."""

NO_WEIGHTS: dict[str, Any] = {"kind": "none"}
"""The entry of the card for a training that started from random weights."""

OLDER_TENSORFLOW_ENCODERS = "timm-tf_efficientnet_lite"
"""The encoders that were built as in TensorFlow before the card said so."""


@dataclass(frozen=True)
class Pretraining:
    """How an encoder other than plain was trained before, which its input and its layers have to match."""

    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    """Of red, green and blue, 0 to 1, by which images were normalized."""
    tensorflow: bool = False
    """Whether it was trained in TensorFlow: `network.networks.match_tensorflow`."""


IMAGENET = Pretraining()
"""What is taken where nothing else is known."""


@dataclass(frozen=True)
class Environment:
    """What a run computed with, also where the parameters say `auto`."""

    accelerator: str
    """cpu or cuda."""
    device: str
    """Number and name of the devices; for CPUs also the number of threads and a digest of their kernels."""
    precision: str
    """float32, tf32, bf16 or fp16."""
    libraries: str
    """Names and versions."""


@dataclass(frozen=True)
class ModelCard:
    """All that is needed to rebuild a network and to know where it comes from."""

    network: str
    """The class of the network: "UNet" or "EncoderNetwork"."""
    architecture: str
    encoder: str
    """The name of the encoder; "plain" is that of `microseg.network.unet`."""
    encoder_weights: dict[str, Any]
    """Origin of the initial weights: kind, and unless that is none name, version, digest, licence and more."""
    base_channels: int
    norm_layer: Literal["batch", "none"]
    """What follows each 3 x 3 convolution of a plain network."""
    input_normalization: Literal["zscore", "imagenet", "none"]
    """How the grey values of a micrograph are normalized."""
    epoch: int
    """The epoch of the weights."""
    validation_iou: float
    """Mean IoU of the validation micrographs at that epoch."""
    seed: int
    training: dict[str, Any]
    """The section `train` of the parameters, with the values used where they say `auto`."""
    training_micrographs: tuple[str, ...]
    """Those of this training; `ancestor_micrographs` has those of earlier ones."""
    validation_micrographs: tuple[str, ...]
    environment: Environment
    weights_sha256: str = ""
    """SHA-256 digest of the file of weights, set when it is written."""
    temperature: float = 1.0
    """Temperature by which logits are divided to be calibrated; fitted on the validation micrographs."""
    best_logit: float = 0.0
    """The threshold of undivided logits with the highest mean IoU on the validation micrographs."""
    downsample: float = 1.0
    """Pixels of the micrograph along one side of a pixel of the network; 1 in cards without it."""
    foreground: tuple[str, ...] | None = None
    """The annotated classes that are foreground; None if there was only one."""
    ancestor_micrographs: tuple[str, ...] = ()
    """The micrographs that the model it started from was trained on, and the model before that, and so on."""

    @property
    def pretraining(self) -> Pretraining:
        """How the encoder was trained before."""
        older = {"tensorflow": self.encoder.startswith(OLDER_TENSORFLOW_ENCODERS)}
        return Pretraining(**self.encoder_weights.get("pretraining", older))


def read_card(folder: Path) -> ModelCard:
    """Return the card in the folder of a trained network; InputError if it is missing or broken."""
    path = card_path(folder)
    try:
        content = _with_newer_keys(json.loads(path.read_text(encoding="utf-8")))
        for key in ("training_micrographs", "validation_micrographs", "ancestor_micrographs"):
            content[key] = tuple(content[key])
        if content.get("foreground") is not None:
            content["foreground"] = tuple(content["foreground"])
        content["environment"] = Environment(**content["environment"])
        Pretraining(**content["encoder_weights"].get("pretraining", {}))  # an error here rather than later
        return ModelCard(**content)
    except FileNotFoundError:
        raise InputError(f"{path}: no such model card; run the stage train") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a model card ({error}); rerun the stage train") from error


def card_path(folder: Path) -> Path:
    """Return the path of the card in the folder of a trained network; in older ones it has another name."""
    older = folder / OLDER_CARD_FILE
    return older if older.is_file() and not (folder / CARD_FILE).exists() else folder / CARD_FILE


def _with_newer_keys(content: dict[str, Any]) -> dict[str, Any]:
    """Return a card with the keys of today: older networks are plain, the oldest have no batch normalization."""
    content = {OLDER_KEYS.get(key, key): value for key, value in content.items()}
    if content.get("input_normalization") == "per_image":
        content["input_normalization"] = "zscore"
    plain = {"architecture": "unet", "encoder": "plain", "encoder_weights": NO_WEIGHTS}
    return {"norm_layer": "none", "ancestor_micrographs": ()} | plain | content


def model_identity(card: ModelCard) -> dict[str, Any]:
    """Return what decides whether the scores of two networks are comparable, short enough for a table."""
    return {
        "weights": card.weights_sha256[:16],
        "epoch": card.epoch,
        "seed": card.seed,
        "training_micrographs": len(card.training_micrographs),
        "environment": asdict(card.environment),
    }


ORIGIN_FILE, WEIGHTS_FILE, MODEL_FOLDER = "origin.json", "weights", "model"


@dataclass(frozen=True)
class WeightsOrigin:
    """The origin of initial weights; all but the first two fields are empty for none."""

    kind: Literal["none", "imagenet", "micronet", "imagenet-micronet", "file", "model"]
    encoder: str
    """The value of train.encoder."""
    name: str = ""
    version: str = ""
    address: str | None = None
    """The address of the file; None if it was not fetched."""
    sha256: str = ""
    """Digest of the file or, for a model, of the list of its files as the program sha256sum prints it."""
    bytes: int = 0
    licence: str = ""
    pretraining: Pretraining = IMAGENET

    @property
    def card_entry(self) -> dict[str, Any]:
        """The entry of the model card."""
        if self.encoder == PLAIN_ENCODER and self.kind == "none":
            return NO_WEIGHTS
        return asdict(self) if self.kind != "none" else NO_WEIGHTS | {"pretraining": asdict(self.pretraining)}


def write_weights_origin(folder: Path, origin: WeightsOrigin) -> None:
    """Write the origin of the weights in a folder."""
    write_json(folder / ORIGIN_FILE, asdict(origin))


def read_weights_origin(folder: Path) -> WeightsOrigin:
    """Read the origin of the weights in a folder; InputError if it is missing or broken."""
    path = folder / ORIGIN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return WeightsOrigin(**content | {"pretraining": Pretraining(**content["pretraining"])})
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage encoder_weights") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not an origin of weights ({error}); rerun the stage encoder_weights") from error
