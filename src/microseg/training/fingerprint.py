"""A name for everything that determines the result of a training, so that no state of another one is ever used."""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from microseg.common.files import file_digest
from microseg.common.params import PLAIN_ENCODER, TrainParams
from microseg.network.environment import library_versions
from microseg.network.inputs import MaskedMicrographs, downsampling_method
from microseg.network.sliding_window import WHOLE, Tiling

CODE = (
    "common.randomness",
    "micrographs.images",
    "network.batch_norm",
    "network.devices",
    "network.environment",
    "network.inputs",
    "network.losses",
    "network.networks",
    "network.sliding_window",
    "network.unet",
    "training.augmentation",
    "training.data",
    "training.loop",
    "training.optimization",
    "training.pixel_cache",
    "training.records",
)
"""The modules of this package whose code has a part in the weights, or in which of them are kept."""

WITHOUT_EFFECT = {
    *("epochs", "decay_fraction", "early_stopping_patience", "checkpoint", "checkpoint_epochs"),
    *("pixel_size_um", "num_workers", "accelerator", "precision", "encoder_weights"),
}
"""Parameters that say when a training ends and what is kept and told of it, or that other arguments say better.

The states of epochs in which the learning rate depends on the end of the training carry it in their names.
"""

ENCODER_LIBRARIES = ("segmentation-models-pytorch", "timm", "torchvision")
"""Those that networks with an encoder of theirs are made of."""

HAVE_DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def fingerprint(
    training: MaskedMicrographs,
    validation: MaskedMicrographs,
    params: TrainParams,
    seed: int,
    device: str,
    tiling: Tiling = WHOLE,
    first_weights: Mapping[str, Tensor] | None = None,
) -> str:
    """Return 32 hexadecimal digits that differ as soon as the weights after any epoch might.

    `device` says where and with which numbers the training computes. Tiles change the figures of a validation, and
    so which weights are the best. `first_weights` are those that are not random when the training begins.
    """
    settings = params.model_dump(exclude=WITHOUT_EFFECT)
    if tiling.tile_size is not None:
        settings |= {**tiling._asdict(), "monai": version("monai")}
    if params.downsample != 1 or params.augment.scale_jitter:
        settings |= {"reduction": downsampling_method(params.downsample)}
    content: dict[str, Any] = {
        "seed": seed,
        "settings": settings,
        "device": device,
        "libraries": library_versions() | encoder_libraries(params),
        "first_weights": weights_digest(first_weights or {}),
        "code": {module: code_digest(module) for module in CODE},
        "training": data_digests(training),
        "validation": data_digests(validation),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def encoder_libraries(params: TrainParams) -> dict[str, str]:
    """Return the versions of the libraries that the network is made of, where it is not our own."""
    return {name: version(name) for name in ENCODER_LIBRARIES} if params.encoder != PLAIN_ENCODER else {}


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return a digest of weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def code_digest(module: str) -> str:
    """Return the digest of what a module of this package does: comments, docstrings and layout do not count."""
    spec = importlib.util.find_spec(f"microseg.{module}")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"microseg.{module}")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return hashlib.sha256(_spell(tree).encode()).hexdigest()


def _spell(node: object) -> str:
    """Return a node of a syntax tree, and all below it, in a spelling that is the same for all versions of Python.

    Newer versions add fields, which are empty for what older ones can read, and Python 3.12 puts empty strings
    behind format specifications: both are left out.
    """
    if isinstance(node, list):
        return f"[{','.join(map(_spell, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, _effective(node, value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({','.join(f'{name}={_spell(value)}' for name, value in fields)})"


def _effective(node: ast.AST, value: object) -> object:
    """Return the value of a field of a node without the strings in it that have no effect."""
    if isinstance(node, ast.JoinedStr):
        return [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
    if isinstance(node, HAVE_DOCSTRINGS) and value is node.body:
        return [statement for statement in node.body if not _documents(statement)]
    return value


def _documents(statement: ast.stmt) -> bool:
    """Return whether a statement is a string alone: a docstring, or what is said below an attribute."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def data_digests(files: MaskedMicrographs) -> list[tuple[str, str, str]]:
    """Return name, digest of the micrograph and digest of the mask, in the order of the names."""
    return [(name, file_digest(files.images / name), file_digest(files.masks / name)) for name in files.names]
