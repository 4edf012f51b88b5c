"""Reading and writing the two kinds of picture files in the pipeline: micrographs and masks."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from microseg.common.errors import InputError

# A compression level of 1 writes noisy micrographs three times as fast as the default, hardly larger.
PNG_COMPRESSION = 1

LARGEST_PICTURE = 2_000_000_000
"""Pixels of the largest picture that is read. Mosaics have hundreds of millions, damaged headers claim any."""

# Pillow refuses more than 178.9 million pixels wherever it opens a picture, which leaves out mosaics. In its place
# `open_picture`, through which all pictures are opened, refuses what is larger than its own limit.
Image.MAX_IMAGE_PIXELS = None


@contextmanager
def open_picture(
    source: Path | IO[bytes], name: object, formats: Sequence[str] | None = None, limit: int = LARGEST_PICTURE
) -> Iterator[Image.Image]:
    """Open a picture without decoding it.

    Args:
        source: the file, or its content.
        name: what an error calls it.
        formats: the formats to try, as Pillow names them; None for all that it knows.
        limit: how many pixels it may have.

    Raises:
        InputError: its header says that it has more pixels than `limit`.
        Exception: what Pillow raises for a file that is no picture.
    """
    with Image.open(source, formats=list(formats) if formats else None) as picture:
        if picture.width * picture.height > limit:
            raise InputError(
                f"{name}: has {picture.width:,} x {picture.height:,} pixels, and at most {limit:,} in all are "
                "read; cut it into smaller pictures, or replace the file if it is damaged"
            )
        yield picture


def _read_grey(path: Path) -> NDArray[np.uint8]:
    try:
        with open_picture(path, path) as picture:
            if picture.mode != "L":
                raise InputError(
                    f"{path}: expected 8-bit grey values, found mode {picture.mode}; rerun the stage that wrote it"
                )
            return np.asarray(picture)
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; rerun the stage that writes it") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: cannot be decoded as an image ({error}); replace the file") from error


def image_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Return height and width of every PNG in a folder, by name; only the headers are read."""
    return {path.name: image_size(path) for path in sorted(folder.glob("*.png"))}


def image_size(path: Path) -> tuple[int, int]:
    """Return height and width of a picture from its header. InputError where it has none, or is too large."""
    try:
        with open_picture(path, path) as picture:
            return picture.height, picture.width
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; rerun the stage that writes it") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: cannot be decoded as an image ({error}); replace the file") from error


def read_micrograph(path: Path) -> NDArray[np.uint8]:
    """Read a micrograph of the pipeline: (height, width), 0 to 255. InputError where it cannot be decoded."""
    return _read_grey(path)


def write_micrograph(path: Path, micrograph: NDArray[np.uint8]) -> None:
    """Write a micrograph, (height, width) of 0 to 255, as a greyscale PNG."""
    Image.fromarray(micrograph).save(path, format="PNG", compress_level=PNG_COMPRESSION)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask: (height, width), True in the foreground. InputError where a value is neither 0 nor 255."""
    values = _read_grey(path)
    mask: NDArray[np.bool_] = values == 255
    if not np.array_equal(mask, values != 0):
        raise InputError(f"{path}: a mask holds 0 and 255 only, found other values; rerun the stage that wrote it")
    return mask


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a mask, (height, width) of bool, as a greyscale PNG of 0 and 255."""
    values = mask.astype(np.uint8) * np.uint8(255)
    # Run lengths suit masks: smaller files than zlib's default way, in two thirds of the time.
    Image.fromarray(values).save(path, format="PNG", compress_type=zlib.Z_RLE)
