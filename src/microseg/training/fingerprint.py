"""The fingerprint of a training: a digest of all that determines its weights, which names its checkpoints."""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from microseg.common.params import PLAIN_ENCODER, TrainParams
from microseg.network.environment import library_versions
from microseg.network.inputs import MaskedMicrographs, downsampling_method
from microseg.network.model_card import IMAGENET, Pretraining
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
"""The modules of this package whose code affects the weights, or the choice of the best ones."""

WITHOUT_EFFECT = {
    *("epochs", "decay_fraction", "early_stopping_patience", "checkpoint", "checkpoint_epochs"),
    *("pixel_size_um", "num_workers", "accelerator", "precision", "encoder_weights", "corrected_weight"),
}
"""Parameters that affect no epoch, or that other arguments of `fingerprint` replace.

Where the learning rate depends on the end of the training, the names of checkpoints contain it.
"""

ENCODER_LIBRARIES = ("segmentation-models-pytorch", "timm", "torchvision")
"""The libraries of networks with an encoder other than plain."""


def fingerprint(
    training: MaskedMicrographs,
    validation: MaskedMicrographs,
    params: TrainParams,
    seed: int,
    device: str,
    tiling: Tiling = WHOLE,
    initial_weights: Mapping[str, Tensor] | None = None,
    pretraining: Pretraining = IMAGENET,
) -> str:
    """Return 32 hexadecimal digits that differ if the weights after any epoch could differ.

    `device` names the device and the precision. `tiling` affects the validation, and so which weights are the
    best. `initial_weights` are those that are not random.
    """
    is_plain = params.encoder == PLAIN_ENCODER
    unused = set() if is_plain else {"base_channels", "norm_layer"}
    unused |= {"crops_per_micrograph", "foreground_oversampling"} if params.crop_size is None else set()
    settings = params.model_dump(exclude=WITHOUT_EFFECT | unused)
    if tiling.tile_size is not None:
        settings |= tiling._asdict()
    if params.downsample != 1 or params.augment.scale_jitter:
        settings |= {"downsampling": downsampling_method(params.downsample)}
    if not is_plain:
        settings |= {"pretraining": asdict(pretraining)}
    content: dict[str, Any] = {
        "seed": seed,
        "settings": settings,
        "device": device,
        "libraries": library_versions()
        | ({} if is_plain else {name: version(name) for name in ENCODER_LIBRARIES}),
        "initial_weights": weights_digest(initial_weights or {}),
        "code": {module: code_digest(module) for module in CODE},
        "training": [training.names, training.digests],
        "validation": [validation.names, validation.digests],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return a digest of weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def code_digest(module: str) -> str:
    """Return a digest of the code of a module of this package, without comments, docstrings and layout."""
    spec = importlib.util.find_spec(f"microseg.{module}")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"microseg.{module}")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def _dump(node: object) -> str:
    """Return a syntax tree as text that does not depend on the version of Python.

    Newer versions add fields, which are empty for code that older ones can parse, and Python 3.12 adds empty
    strings after format specifications: both are omitted.
    """
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, _effective(node, value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({','.join(f'{name}={_dump(value)}' for name, value in fields)})"


def _effective(node: ast.AST, value: object) -> object:
    """Return the value of a field of a node without docstrings and empty strings."""
    if isinstance(node, ast.JoinedStr):
        return [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and value is node.body:
        # Docstrings, of definitions and attributes, are expressions that are constants.
        return [
            one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        ]
    return value
