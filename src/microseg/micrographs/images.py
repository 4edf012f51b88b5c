"""Reading and writing the two kinds of images in the pipeline: micrographs and masks."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from microseg.common.errors import InputError
from microseg.common.parallel import map_in_processes

LARGEST_IMAGE = 2_000_000_000
"""Pixels of the largest image that is read. Mosaics have hundreds of millions; damaged headers claim anything."""

# Pillow refuses images of more than 178.9 million pixels, and so most mosaics. `open_image`, which opens every
# image of this package, checks its own limit instead.
Image.MAX_IMAGE_PIXELS = None

# Level 1 writes noisy micrographs three times as fast as the default level; the files are hardly larger.
PNG_COMPRESSION = 1


@contextmanager
def open_image(
    source: Path | IO[bytes], name: object, formats: Sequence[str] | None = None, limit: int = LARGEST_IMAGE
) -> Iterator[ImageFile]:
    """Open an image, a file or its content, without decoding it; error messages call it `name`.

    Only the `formats`, by Pillow's names, are tried.

    Raises:
        InputError: its header declares more than `limit` pixels.
        Exception: whatever Pillow raises for a file that is not an image.
    """
    with Image.open(source, formats=list(formats) if formats else None) as image:
        check_size(name, image.width, image.height, limit)
        yield image


def check_size(name: object, width: int, height: int, limit: int = LARGEST_IMAGE) -> None:
    """Raise an InputError for an image of more than `limit` pixels, before it is decoded."""
    if width * height > limit:
        raise InputError(
            f"{name}: has {width:,} x {height:,} pixels, the limit is {limit:,} in all; "
            "cut it into smaller images, or replace the file if it is damaged"
        )


def read_micrograph(path: Path) -> NDArray[np.uint8]:
    """Read a micrograph of the pipeline: (height, width), 0 to 255. InputError if it cannot be decoded."""
    with _opened(path) as image:
        if image.mode != "L":
            raise InputError(
                f"{path}: expected 8-bit grey values, found mode {image.mode}; rerun the stage that wrote it"
            )
        return np.asarray(image)


def pixel_digest(micrograph: NDArray[np.uint8]) -> str:
    """Return a digest of a micrograph's shape and pixels, which does not depend on its file."""
    content = hashlib.sha256(str(micrograph.shape).encode())
    content.update(micrograph.tobytes())
    return content.hexdigest()[:16]


def pixel_digests(folder: Path, images: Sequence[str]) -> dict[str, str]:
    """Return the digest of the pixels of each of the `images` in a folder."""
    read = map_in_processes(partial(_digest_of_file, folder), images, "comparing pixels")
    return dict(zip(images, read, strict=True))


def _digest_of_file(folder: Path, image: str) -> str:
    return pixel_digest(read_micrograph(folder / image))


def repeated_images(digests: Mapping[str, str]) -> list[list[str]]:
    """Return the names of each picture that stands under several, sorted; `digests` as of `pixel_digests`."""
    names: dict[str, list[str]] = {}
    for image in sorted(digests):
        names.setdefault(digests[image], []).append(image)
    return [same for same in names.values() if len(same) > 1]


def write_micrograph(path: Path, micrograph: NDArray[np.uint8]) -> None:
    """Write a micrograph, (height, width) of 0 to 255, as a greyscale PNG."""
    Image.fromarray(micrograph).save(path, format="PNG", compress_level=PNG_COMPRESSION)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask: (height, width), True in the foreground. InputError if a value is neither 0 nor 255."""
    values = read_micrograph(path)
    mask: NDArray[np.bool_] = values == 255
    if not np.array_equal(mask, values != 0):
        raise InputError(f"{path}: a mask holds only 0 and 255, found other values; rerun the stage that wrote it")
    return mask


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a mask, (height, width) of bool, as a greyscale PNG of 0 and 255."""
    values = mask.astype(np.uint8) * np.uint8(255)
    # Run-length encoding suits masks: smaller files than zlib's default strategy, in two thirds of the time.
    Image.fromarray(values).save(path, format="PNG", compress_type=zlib.Z_RLE)


def image_size(path: Path) -> tuple[int, int]:
    """Return height and width of an image from its header. InputError if it has none, or is too large."""
    with _opened(path) as image:
        return image.height, image.width


def image_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Return height and width of every PNG in a folder, by file name; only the headers are read."""
    return {path.name: image_size(path) for path in sorted(folder.glob("*.png"))}


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image that a stage wrote. InputError if it is missing or cannot be decoded."""
    try:
        with open_image(path, path) as image:
            yield image
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; rerun the stage that writes it") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: cannot be decoded as an image ({error}); replace the file") from error
