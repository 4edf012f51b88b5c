"""A name for everything that determines the result of a training, so that no state of another one is ever used."""

import ast
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from microseg.common.files import file_digest
from microseg.common.params import TrainParams
from microseg.network.inputs import MaskedMicrographs

CODE = (
    "common.randomness",
    "micrographs.images",
    "network.devices",
    "network.inputs",
    "network.losses",
    "network.normalisation",
    "network.unet",
    "training.augmentation",
    "training.datasets",
    "training.loop",
    "training.sampling",
    "training.schedules",
    "training.validation",
)
"""The modules of this package whose code has a part in the weights."""

WITHOUT_EFFECT = {"epochs", "fall", "early_stopping", "keep", "keep_epochs", "workers", "accelerator", "precision"}
"""Parameters that say when a training ends and what is kept of it, or that `device` says better.

The states of epochs in which the learning rate depends on the end of the training carry it in their names.
"""


def fingerprint(
    training: MaskedMicrographs, validation: MaskedMicrographs, params: TrainParams, seed: int, device: str
) -> str:
    """Return 32 hexadecimal digits that differ as soon as the weights after any epoch might.

    `device` says where and with which numbers the training computes.
    """
    content: dict[str, Any] = {
        "seed": seed,
        "settings": params.model_dump(exclude=WITHOUT_EFFECT),
        "device": device,
        "torch": torch.__version__,
        "code": {module: code_digest(module) for module in CODE},
        "training": data_digests(training),
        "validation": data_digests(validation),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def code_digest(module: str) -> str:
    """Return the digest of what a module of this package does: comments and layout do not count."""
    spec = importlib.util.find_spec(f"microseg.{module}")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"microseg.{module}")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def data_digests(files: MaskedMicrographs) -> list[tuple[str, str, str]]:
    """Return name, digest of the micrograph and digest of the mask, in the order of the names."""
    return [(name, file_digest(files.images / name), file_digest(files.masks / name)) for name in files.names]
