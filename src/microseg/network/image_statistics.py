"""Statistics of micrographs, stored with a model so that new micrographs can be compared with its training set."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.micrographs.images import pixel_digest, read_micrograph

STATISTICS_FILE, OLDER_STATISTICS_FILE = "image_statistics.json", "appearance.json"
Pixel = TypeVar("Pixel", np.uint8, np.bool_)

ENTROPY = "probability_entropy"
LARGEST_SIDE, ROWS_AT_A_TIME = 4096, 1024
"""Limit memory, of which a pixel takes several floats: the largest side that is measured, and rows at a time."""

QUANTITIES = {
    "grey_5_percent": "its dark grey values (5 % lie below)",
    "grey_median": "its median grey value",
    "grey_95_percent": "its bright grey values (5 % lie above)",
    "sharpness": "its sharpness",
    "noise": "its noise",
    ENTROPY: "how unsure the network is",
}
"""The statistics that are compared, each as a report calls it."""


@dataclass(frozen=True)
class ImageStatistics:
    """The statistics of the micrographs that a model was trained on."""

    ranges: dict[str, tuple[float, float]]
    """Minimum and maximum of each of QUANTITIES; the entropy is that of the validation micrographs."""
    digests: tuple[str, ...]
    """Digests of the pixels of the training micrographs, also of those of the models it started from."""
    pixel_size_um: float | None = None
    """Side of a pixel of the training micrographs in micrometres, None where it is not known or not the same."""
    pixel_size_from: str = ""


def image_statistics(micrograph: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Return the statistics of a micrograph, (height, width) of 0 to 255, where it shows the specimen (`valid`).

    They are grey quantiles, 0 to 1; the noise, as a standard deviation of grey values from 0 to 1 (J. Immerkaer,
    Computer Vision and Image Understanding 64:300, 1996); and the sharpness: the root mean square of the steps
    between neighboring squares of 2 x 2 pixels, divided by the standard deviation of the grey values. Those of a
    large micrograph are of its center.
    """
    micrograph = _center_crop(micrograph)
    inside = None if valid is None else _center_crop(valid)
    counts = np.bincount(micrograph.ravel() if inside is None else micrograph[inside], minlength=256)
    if not counts.any():
        return {}
    low, middle, high = np.searchsorted(np.cumsum(counts) / counts.sum(), (0.05, 0.5, 0.95)) / 255
    values = np.arange(256)
    mean = np.average(values, weights=counts)
    variance = np.average((values - mean) ** 2, weights=counts)
    if inside is not None:  # no steps beyond the specimen, and hardly any at its outline
        micrograph = np.where(inside, micrograph, np.uint8(round(mean)))
    fraction = counts.sum() / micrograph.size
    # Sums and differences of grey values stay within 16 bits, four times as fast as floats.
    grey = micrograph.astype(np.int16)
    # Second differences along both axes cancel edges and slopes; they multiply the noise by six.
    rows = grey[2:] - 2 * grey[1:-1] + grey[:-2]
    second = rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2]
    height, width = (side // 2 * 2 for side in grey.shape)
    pairs = grey[:height:2, :width] + grey[1:height:2, :width]
    squares = pairs[:, ::2] + pairs[:, 1::2]  # four times their mean
    steps = [np.square(np.diff(squares, axis=axis), dtype=np.float32) for axis in (0, 1)]
    mean_square = sum(float(step.mean(dtype=np.float64)) for step in steps if step.size) / 16
    return {
        "grey_5_percent": float(low),
        "grey_median": float(middle),
        "grey_95_percent": float(high),
        "sharpness": math.sqrt(mean_square / fraction / variance) if variance else 0.0,
        "noise": float(np.abs(second).mean() / fraction / 255 * np.sqrt(np.pi / 2) / 6) if second.size else 0.0,
    }


def _center_crop(image: NDArray[Pixel]) -> NDArray[Pixel]:
    top, left = (max(0, side - LARGEST_SIDE) // 2 for side in image.shape)
    return image[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]


def entropy(probability: NDArray[np.floating], pixels: NDArray[np.int64] | None = None) -> float:
    """Return the mean entropy of probabilities in bits: 0 where the network is certain, 1 at one half.

    `pixels` says, for probabilities of shape (n,), how many pixels have each; without it they have one each.
    """
    # A histogram of 256 bins is exact enough, and faster than two logarithms a pixel.
    counts = np.zeros(256)
    for top in range(0, len(probability), ROWS_AT_A_TIME):
        rows = slice(top, top + ROWS_AT_A_TIME)
        bins = (probability[rows] * 255.999).astype(np.uint8)
        counts += np.bincount(bins.ravel(), None if pixels is None else pixels[rows], 256)
    centers = (np.arange(256) + 0.5) / 256
    bits = -(centers * np.log2(centers) + (1 - centers) * np.log2(1 - centers))
    return float(np.average(bits, weights=counts))


def measure_file(path: Path) -> tuple[dict[str, float], str]:
    """Return the statistics of the micrograph in a file, and the digest of its pixels."""
    micrograph = read_micrograph(path)
    return image_statistics(micrograph), pixel_digest(micrograph)


def read_image_statistics(folder: Path) -> ImageStatistics | None:
    """Read the statistics in a model's folder; None for an older model. InputError if the file is broken."""
    path = folder / STATISTICS_FILE
    if not path.is_file():
        path = folder / OLDER_STATISTICS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ranges = {name: (float(low), float(high)) for name, (low, high) in content["ranges"].items()}
        size = content.get("pixel_size_um")
        scale = (None if size is None else float(size), str(content.get("pixel_size_from", "")))
        return ImageStatistics(ranges, tuple(content["digests"]), *scale)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not the image statistics of a model ({error}); rerun the stage train"
        ) from error
