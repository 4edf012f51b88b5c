"""The weights a training starts from: those of an encoder, as others have published them, or a model of ours."""

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.common.params import PLAIN_ENCODER, TrainParams
from microseg.network.model_card import MODEL_FOLDER, ORIGIN_FILE, WEIGHTS_FILE, read_weights_origin
from microseg.network.model_io import read_model
from microseg.network.networks import EncoderNetwork, build_network

CLASSIFIERS = ("fc.", "_fc.", "classifier.", "last_linear.", "head.", "linear.")
LAST_CONVOLUTIONS = ("conv_head.", "bn2.", "_conv_head.", "_bn1.")
"""What stands behind the features in files of weights, and has no place in an encoder.

The last convolution of EfficientNets and its batch normalisation are part of some encoders of
segmentation_models_pytorch all the same, though no decoder looks at what they compute.
"""

MOST_LISTED = 10
"""So many keys of each kind of mistake are listed."""


def first_weights(folder: Path, params: TrainParams) -> dict[str, Tensor]:
    """Return the weights that a training with these parameters starts from, by their names in its network.

    Those of an encoder are some of a network's, those of a model all; where there are none all are random.

    Args:
        folder: what the stage encoder_weights wrote.
        params: those of the training.

    Raises:
        InputError: they are of another network, are not all there, or are not what was brought.
    """
    origin = read_weights_origin(folder)
    if origin.encoder != params.encoder:
        raise InputError(
            f"{folder / ORIGIN_FILE}: brought for encoder {origin.encoder}, but train.encoder is "
            f"{params.encoder}; rerun the stage encoder_weights"
        )
    if origin.kind == "none":
        return {}
    if origin.kind == "model":
        return _weights_of_model(folder / MODEL_FOLDER, params)
    network = build_network(params)
    if not isinstance(network, EncoderNetwork):
        raise InputError(
            f"train.encoder_weights: there are none for encoder {PLAIN_ENCODER} but those of an own model; set it "
            "to none or to the folder of such a model, or train.encoder to one of segmentation_models_pytorch's"
        )
    path = folder / WEIGHTS_FILE
    if not path.is_file() or file_digest(path) != origin.sha256:
        raise InputError(f"{path}: not the file that {ORIGIN_FILE} describes; rerun the stage encoder_weights")
    load_encoder(network.encoder, path, params.encoder)
    prefix = next(name for name, module in network.named_modules() if module is network.encoder)
    return {f"{prefix}.{key}": tensor for key, tensor in network.encoder.state_dict().items()}


def load_encoder(encoder: nn.Module, path: Path, name: str) -> None:
    """Load a file of weights into an encoder of segmentation_models_pytorch.

    Args:
        encoder: it has this `name`.
        path: a file of torch or of safetensors; the keys are those of torchvision, timm, Cadene's
            pretrained-models.pytorch or, for EfficientNet-Lite0, of lukemelas' EfficientNet-PyTorch.
        name: what the encoder is called.

    Raises:
        InputError: the file is none of these, or does not hold just the weights of the encoder and a classifier.
    """
    own = encoder.state_dict()
    given = {own_key(key, own): tensor for key, tensor in read_tensors(path).items()}
    behind = (*CLASSIFIERS, *LAST_CONVOLUTIONS)
    given = {key: tensor for key, tensor in given.items() if key in own or not key.startswith(behind)}
    # Files from before 2018 do not count batches, and nothing depends on their number.
    uncounted = {key: own[key] for key in own.keys() - given.keys() if key.endswith("num_batches_tracked")}
    given |= uncounted
    mistakes = {
        "missing": sorted(own.keys() - given.keys()),
        "left over": sorted(given.keys() - own.keys()),
        "of another shape": [
            f"{key} {tuple(given[key].shape)} instead of {tuple(tensor.shape)}"
            for key, tensor in own.items()
            if key in given and given[key].shape != tensor.shape
        ],
    }
    if any(mistakes.values()):
        found = "; ".join(f"{what}: {_listed(keys)}" for what, keys in mistakes.items() if keys)
        raise InputError(f"{path}: not the weights of encoder {name}: {found}")
    # Not its own method: some encoders have one that drops keys without a word.
    nn.Module.load_state_dict(encoder, given)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file of torch or of safetensors, without executing anything that is in it.

    Raises:
        InputError: it is neither, or holds something else than tensors.
    """
    content = path.read_bytes()
    try:
        # A file of safetensors starts with the length of its header in eight bytes, and the header with a brace.
        found = load(content) if content[8:9] == b"{" else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: not a file of weights, of torch or of safetensors ({reason})") from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise InputError(f"{path}: a file of torch, but not one of weights by their names; give a state dict")
    return {str(key).removeprefix("module."): tensor for key, tensor in found.items()}


def own_key(key: str, own: Mapping[str, Tensor]) -> str:
    """Return what the encoder with the weights `own` calls the weight `key` of a file; `key` if it has no such."""
    return next((name for name in _names(key) if name in own), key)


def _names(key: str) -> Iterator[str]:
    """Yield what a weight may be called: the same, or without the points, the numbers and the levels of others."""
    same = [key, re.sub(r"\b(norm|conv)\.([12])\.", r"\1\2.", key)]
    if key.startswith("_"):
        same.append(lite0_key(key))
    yield from same
    for name in same:
        yield f"model.{name}"
        # timm joins the names of stages to the level above, where only features are asked for.
        yield f"model.{name.replace('.', '_', 1)}"


LITE0_REPEATS = (1, 2, 2, 3, 3, 4, 1)
LITE0_PLACES = [f"{stage}.{repeat}" for stage, repeats in enumerate(LITE0_REPEATS) for repeat in range(repeats)]
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
    """Return what timm calls a weight of the EfficientNet-Lite0, of which EfficientNet-PyTorch counts the blocks.

    The first block does not widen its input first, and so has a convolution and a batch normalisation less.
    """
    first, _, rest = key.partition(".")
    if first != "_blocks":
        return f"{LITE0_ENDS.get(first, first)}.{rest}"
    block, layer, weight = rest.split(".", 2)
    names = LITE0_FIRST if block == "0" else LITE0_OTHERS
    if not block.isdecimal() or int(block) >= len(LITE0_PLACES) or layer not in names:
        return key
    return f"blocks.{LITE0_PLACES[int(block)]}.{names[layer]}.{weight}"


def _weights_of_model(folder: Path, params: TrainParams) -> dict[str, Tensor]:
    trained, card = read_model(folder)
    names = ["architecture", "encoder", "input_normalization"]
    names += ["base_channels", "normalisation"] if params.encoder == PLAIN_ENCODER else []
    for name in names:
        theirs, ours = getattr(card, name), getattr(params, name)
        if theirs != ours:
            raise InputError(
                f"train.{name} is {ours}, but the model to start from, {folder}, has {theirs}; make them the same"
            )
    return trained.state_dict()


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - MOST_LISTED} more" if len(keys) > MOST_LISTED else ""
    return ", ".join(keys[:MOST_LISTED]) + more
