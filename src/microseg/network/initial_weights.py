"""The initial weights of a training: published weights of an encoder, or all weights of an earlier model."""

import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.common.params import PLAIN_ENCODER, TrainParams
from microseg.micrographs.images import pixel_digests
from microseg.network.image_statistics import read_image_statistics
from microseg.network.model_card import MODEL_FOLDER, ORIGIN_FILE, WEIGHTS_FILE, read_card, read_weights_origin
from microseg.network.model_io import read_model
from microseg.network.networks import EncoderNetwork, build_network

AFTER_FEATURES = (
    *("fc.", "_fc.", "classifier.", "last_linear.", "head.", "linear."),
    *("conv_head.", "bn2.", "_conv_head.", "_bn1."),
)
"""Prefixes in files of weights of classifiers and last convolutions, which most encoders do not have."""

MAX_LISTED = 10
"""How many keys of each kind of mistake, or micrographs, an error lists."""


def initial_weights(folder: Path, params: TrainParams) -> dict[str, Tensor]:
    """Return the initial weights in the output of the stage encoder_weights, by their names in the network.

    Those that are missing are random: all or none of them, or those of the decoder.

    Raises:
        InputError: they are of another network, incomplete, or not the ones that the stage fetched.
    """
    origin = read_weights_origin(folder)
    if origin.encoder != params.encoder:
        raise InputError(
            f"{folder / ORIGIN_FILE}: fetched for encoder {origin.encoder}, but train.encoder is "
            f"{params.encoder}; rerun the stage encoder_weights"
        )
    if origin.kind == "none":
        return {}
    if origin.kind == "model":
        return _weights_of_model(folder / MODEL_FOLDER, params)
    network = build_network(params, origin.pretraining)
    if not isinstance(network, EncoderNetwork):
        raise InputError(
            f"train.encoder_weights: encoder {PLAIN_ENCODER} takes only the weights of your own models; set it "
            "to none or to the folder of such a model, or train.encoder to one of segmentation_models_pytorch"
        )
    path = folder / WEIGHTS_FILE
    if not path.is_file() or file_digest(path) != origin.sha256:
        raise InputError(f"{path}: not the file that {ORIGIN_FILE} describes; rerun the stage encoder_weights")
    load_encoder(network.encoder, path, params.encoder)
    prefix = next(name for name, module in network.named_modules() if module is network.encoder)
    return {f"{prefix}.{key}": tensor for key, tensor in network.encoder.state_dict().items()}


@dataclass(frozen=True)
class SeenMicrographs:
    """The micrographs that the model a training starts from, and the models before it, were trained on."""

    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    """Of their pixels; older models have none."""

    def refuse(self, images: Path, measured: Sequence[str], split: str) -> None:
        """Raise InputError if any micrograph `measured`, a file in `images`, was seen, by its name or pixels."""
        digests = pixel_digests(images, measured) if self.digests else {}
        seen = [name for name in measured if name in self.names or digests.get(name) in self.digests]
        if seen:
            raise InputError(
                "train.encoder_weights: the model to start from, or one before it, was trained on micrographs of "
                f"the {split} set, by their names or pixels: {_listed(seen)}; start from another model, keep them "
                f"out of the {split} set with split.from_column, or rename those that share only their names"
            )


def seen_micrographs(folder: Path) -> SeenMicrographs:
    """Return what the model in the output of the stage encoder_weights has seen; nothing if there is none."""
    if read_weights_origin(folder).kind != "model":
        return SeenMicrographs()
    card, statistics = read_card(folder / MODEL_FOLDER), read_image_statistics(folder / MODEL_FOLDER)
    names = sorted({*card.training_micrographs, *card.ancestor_micrographs})
    return SeenMicrographs(tuple(names), statistics.digests if statistics else ())


def load_encoder(encoder: nn.Module, path: Path, name: str) -> None:
    """Load a file of weights into an encoder of segmentation_models_pytorch called `name`.

    The file is one of torch or of safetensors, with the keys of torchvision, timm, Cadene's
    pretrained-models.pytorch or, for EfficientNet-Lite0, of lukemelas' EfficientNet-PyTorch.

    Raises:
        InputError: the file is none of these, or holds other weights than those of the encoder and a classifier.
    """
    own = encoder.state_dict()
    given = {encoder_key(key, own): tensor for key, tensor in read_tensors(path).items()}
    given = {key: tensor for key, tensor in given.items() if key in own or not key.startswith(AFTER_FEATURES)}
    # Files from before 2018 have no count of batches, and nothing depends on it.
    given |= {key: own[key] for key in own.keys() - given.keys() if key.endswith("num_batches_tracked")}
    mistakes = {
        "missing": sorted(own.keys() - given.keys()),
        "unexpected": sorted(given.keys() - own.keys()),
        "of a wrong shape": [
            f"{key} {tuple(given[key].shape)} instead of {tuple(tensor.shape)}"
            for key, tensor in own.items()
            if key in given and given[key].shape != tensor.shape
        ],
    }
    if any(mistakes.values()):
        found = "; ".join(f"{kind}: {_listed(keys)}" for kind, keys in mistakes.items() if keys)
        raise InputError(f"{path}: not the weights of encoder {name}: {found}")
    # Not the method of the encoder itself: some encoders override it and drop keys silently.
    nn.Module.load_state_dict(encoder, given)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file of torch or of safetensors, without executing code; InputError for others."""
    content = path.read_bytes()
    try:
        # A file of safetensors starts with the length of its header in eight bytes, and the header with a brace.
        found = load(content) if content[8:9] == b"{" else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{path}: not a file of weights in the format of torch or safetensors ({reason})"
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise InputError(f"{path}: a file of torch, but without named weights; save a state dict")
    return {str(key).removeprefix("module."): tensor for key, tensor in found.items()}


def encoder_key(key: str, own: Mapping[str, Tensor]) -> str:
    """Return the name of a file's weight `key` in an encoder with the weights `own`; `key` if it has none."""
    return next((name for name in _possible_names(key) if name in own), key)


def _possible_names(key: str) -> Iterator[str]:
    """Yield the names that encoders may have for a weight, which differ in points, numbers and levels."""
    names = [key, re.sub(r"\b(norm|conv)\.([12])\.", r"\1\2.", key)]
    if key.startswith("_"):
        names.append(lite0_key(key))
    yield from names
    for name in names:
        yield f"model.{name}"
        # Of a network for features only, timm joins the names of stages to the level above.
        yield f"model.{name.replace('.', '_', 1)}"


LITE0_REPEATS = (1, 2, 2, 3, 3, 4, 1)
LITE0_BLOCKS = [f"{stage}.{repeat}" for stage, repeats in enumerate(LITE0_REPEATS) for repeat in range(repeats)]
LITE0_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LITE0_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite0_key(key: str) -> str:
    """Return timm's name of a weight of EfficientNet-Lite0, of which EfficientNet-PyTorch numbers the blocks.

    The first block does not expand its input, and so has one convolution and one batch normalization less.
    """
    first, _, rest = key.partition(".")
    if first != "_blocks":
        return f"{LITE0_ENDS.get(first, first)}.{rest}"
    block, layer, weight = rest.split(".", 2)
    names = LITE0_FIRST if block == "0" else LITE0_OTHERS
    if not block.isdecimal() or int(block) >= len(LITE0_BLOCKS) or layer not in names:
        return key
    return f"blocks.{LITE0_BLOCKS[int(block)]}.{names[layer]}.{weight}"


def _weights_of_model(folder: Path, params: TrainParams) -> dict[str, Tensor]:
    trained, card = read_model(folder)
    names = ["architecture", "encoder", "input_normalization"]
    names += ["base_channels", "norm_layer"] if params.encoder == PLAIN_ENCODER else []
    for name in names:
        given, asked = getattr(card, name), getattr(params, name)
        if given != asked:
            raise InputError(
                f"train.{name} is {asked}, but the model to start from, {folder}, has {given}; make them the same"
            )
    return trained.state_dict()


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - MAX_LISTED} more" if len(keys) > MAX_LISTED else ""
    return ", ".join(keys[:MAX_LISTED]) + more
