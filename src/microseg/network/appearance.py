"""What micrographs look like, in numbers: kept with a model, so that others can be compared with its training."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.common.files import write_json
from microseg.micrographs.images import read_micrograph
from microseg.network.inputs import MaskedMicrographs, network_input
from microseg.network.model_card import read_model
from microseg.network.resolution import enlarged

APPEARANCE_FILE = "appearance.json"
ENTROPY = "probability_entropy"
ENTROPY_MICROGRAPHS = 32
"""From so many validation micrographs at most the network's usual uncertainty is taken."""

LARGEST_SIDE, ROWS_AT_A_TIME = 4096, 1024
"""Of larger pictures so many pixels a side are looked at, or so many rows at a time: several floats a pixel."""

QUANTITIES = {
    "grey_5_percent": "its dark grey values (5 % lie below)",
    "grey_median": "its median grey value",
    "grey_95_percent": "its bright grey values (5 % lie above)",
    "sharpness": "its sharpness",
    "noise": "its noise",
    ENTROPY: "how unsure the network is",
}
"""What is compared, and what a reader of a report calls it."""


@dataclass(frozen=True)
class Appearance:
    """What the training micrographs of a model look like."""

    ranges: dict[str, tuple[float, float]]
    """Smallest and largest value of each of QUANTITIES; those of the entropy are of the validation micrographs."""
    digests: tuple[str, ...]
    """Of the training micrographs' pixels, by which they are recognised under any name."""


def looks_of(micrograph: NDArray[np.uint8]) -> dict[str, float]:
    """Return what a micrograph, (height, width), looks like.

    Returns:
        Grey quantiles, 0 to 1; the noise, as the standard deviation of grey values from 0 to 1 (J. Immerkaer,
        Computer Vision and Image Understanding 64:300, 1996); the sharpness, which is the root mean square
        of the steps between neighbouring squares of 2 x 2 pixels over the standard deviation of the grey values.
        Of a mosaic the middle stands for the whole.
    """
    micrograph = _middle(micrograph)
    below = np.cumsum(np.bincount(micrograph.ravel(), minlength=256)) / micrograph.size
    low, middle, high = np.searchsorted(below, (0.05, 0.5, 0.95)) / 255
    grey = micrograph.astype(np.float32) / np.float32(255)
    # Second differences along both axes cancel edges and slopes, and leave noise with six times its deviation.
    rows = grey[2:] - 2 * grey[1:-1] + grey[:-2]
    second = rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2]
    height, width = (side // 2 * 2 for side in grey.shape)
    squares = grey[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    steps = (np.square(np.diff(squares, axis=axis)).mean() for axis in (0, 1) if squares.shape[axis] > 1)
    deviation = float(grey.std())
    return {
        "grey_5_percent": float(low),
        "grey_median": float(middle),
        "grey_95_percent": float(high),
        "sharpness": math.sqrt(sum(steps)) / deviation if deviation else 0.0,
        "noise": float(np.abs(second).mean() * np.sqrt(np.pi / 2) / 6) if second.size else 0.0,
    }


def _middle(micrograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = (max(0, side - LARGEST_SIDE) // 2 for side in micrograph.shape)
    return micrograph[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]


def entropy(probability: NDArray[np.floating]) -> float:
    """Return the mean entropy of a pixel's probability in bits: 0 where the network is sure, 1 at a guess."""
    # 256 shades are plenty, and counting them is faster than two logarithms a pixel.
    counts = np.zeros(256, np.int64)
    for top in range(0, len(probability), ROWS_AT_A_TIME):
        shades = (probability[top : top + ROWS_AT_A_TIME] * 255.999).astype(np.uint8)
        counts += np.bincount(shades.ravel(), minlength=256)
    shade = (np.arange(256) + 0.5) / 256
    bits = -(shade * np.log2(shade) + (1 - shade) * np.log2(1 - shade))
    return float(np.average(bits, weights=counts))


def pixel_digest(micrograph: NDArray[np.uint8]) -> str:
    """Return a digest of a micrograph's pixels, the same whatever its file is called."""
    content = hashlib.sha256(str(micrograph.shape).encode())
    content.update(micrograph.tobytes())
    return content.hexdigest()[:16]


def write_appearance(
    fabric: Fabric, folder: Path, training: MaskedMicrographs, validation: MaskedMicrographs
) -> None:
    """Write what a model was trained on looks like into its folder, beside the weights and the card."""
    looks, digests = [], []
    for micrograph in _micrographs(training):
        looks.append(looks_of(micrograph))
        digests.append(pixel_digest(micrograph))
    ranges = {name: _range([one[name] for one in looks]) for name in looks[0]}
    ranges[ENTROPY] = _range(_entropies(fabric, folder, validation))
    write_json(folder / APPEARANCE_FILE, asdict(Appearance(ranges, tuple(digests))))


def read_appearance(folder: Path) -> Appearance | None:
    """Read what `write_appearance` wrote; None where the model is older. InputError where the file is broken."""
    path = folder / APPEARANCE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ranges = {name: (float(low), float(high)) for name, (low, high) in content["ranges"].items()}
        return Appearance(ranges, tuple(content["digests"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not what a training writes ({error}); rerun the stage train") from error


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
