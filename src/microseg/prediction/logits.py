"""Logits, the raw output of the network for one micrograph: reading, writing, and their probabilities."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from microseg.common.errors import InputError
from microseg.common.files import output_file

LARGEST = float(np.finfo(np.float16).max)
ROWS_AT_A_TIME = 1024

SETTINGS_FILE = "settings.json"
"""In a folder of logits, and in one of masks from logits: what they were made with."""


def row_chunks(rows: int) -> Iterator[slice]:
    """Yield slices that cover all rows of an image, to limit the memory of what takes many bytes a pixel."""
    for top in range(0, rows, ROWS_AT_A_TIME):
        yield slice(top, min(top + ROWS_AT_A_TIME, rows))


def logits_path(folder: Path, image: str) -> Path:
    """Return the path of the logits of `image` in `folder`: IMG_00001.npy for IMG_00001.png."""
    return folder / Path(image).with_suffix(".npy")


def write_logits(folder: Path, image: str, logits: NDArray[np.floating]) -> None:
    """Write logits, (height, width) of any real numbers, as float16, clipped to its range."""
    with output_file(logits_path(folder, image)) as partial, partial.open("wb") as file:
        np.save(file, np.clip(logits, -LARGEST, LARGEST).astype(np.float16), allow_pickle=False)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what the logits or masks in `folder` were made with; InputError if the file is missing or broken.

    Both have `predict`, that section of the parameters; `temperature`, by which the logits were divided; and
    `best_logit`, their best threshold on the validation micrographs. Masks also have `postprocess`.
    """
    path = folder / SETTINGS_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; rerun the stages predict and postprocess") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); rerun the stages predict and postprocess") from error
    return content


def read_logits(folder: Path, image: str) -> NDArray[np.float16]:
    """Read the logits of `image`, (height, width); InputError if they are missing, broken or not finite."""
    path = logits_path(folder, image)
    try:
        logits = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no logits of {image}; rerun the stage predict") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a NumPy array file ({error}); rerun the stage predict") from error
    if logits.ndim != 2 or logits.dtype != np.float16 or not np.isfinite(logits).all():
        raise InputError(
            f"{path}: expected finite float16 logits of shape (height, width), found {logits.dtype} of shape "
            f"{logits.shape}; rerun the stage predict"
        )
    return np.asarray(logits)


Logits = NDArray[np.floating]
WholeNumber = TypeVar("WholeNumber", np.uint8, np.uint16)


def probabilities(logits: Logits) -> NDArray[np.float32]:
    """Return the sigmoid of logits of any shape."""
    return np.asarray(expit(logits.astype(np.float32)))


def rescaled(logits: Logits, kind: type[WholeNumber]) -> NDArray[WholeNumber]:
    """Return the probabilities, (height, width), as integers, of which the largest of its `kind` stands for 1."""
    result = np.empty(logits.shape, kind)
    for rows in row_chunks(len(logits)):
        result[rows] = np.rint(probabilities(logits[rows]) * np.iinfo(kind).max)
    return result
