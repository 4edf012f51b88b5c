"""What micrographs look like, in numbers: kept with a model, so that others can be compared with its training."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microseg.common.errors import InputError

STATISTICS_FILE, OLDER_STATISTICS_FILE = "image_statistics.json", "appearance.json"
ENTROPY = "probability_entropy"
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
class ImageStatistics:
    """What the training micrographs of a model look like."""

    ranges: dict[str, tuple[float, float]]
    """Smallest and largest value of each of QUANTITIES; those of the entropy are of the validation micrographs."""
    digests: tuple[str, ...]
    """Of the training micrographs' pixels, by which they are recognised under any name."""


def image_statistics(micrograph: NDArray[np.uint8]) -> dict[str, float]:
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


def read_image_statistics(folder: Path) -> ImageStatistics | None:
    """Read what a model's folder says of its training; None where it is older. InputError for a broken file."""
    path = folder / STATISTICS_FILE
    if not path.is_file():
        path = folder / OLDER_STATISTICS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ranges = {name: (float(low), float(high)) for name, (low, high) in content["ranges"].items()}
        return ImageStatistics(ranges, tuple(content["digests"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not what a training writes ({error}); rerun the stage train") from error
