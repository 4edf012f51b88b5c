"""Decoding PNG, TIFF, JPEG and BMP files into the values that they store.

A micrograph is the grey that a viewer shows of a file, a mask the numbers that a program wrote into it.
`read_stored` returns the numbers with all that is needed to interpret them; `microseg.micrographs.conversion`
makes grey of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from tifffile import PHOTOMETRIC, TiffFile, TiffPage

from microseg.common.errors import InputError
from microseg.micrographs.images import check_size, open_image

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"})
FORMATS = ("PNG", "JPEG", "BMP")
"""The formats that Pillow decodes; TIFF is decoded by tifffile."""
MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I", "F"})
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PHOTOMETRICS = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)

ORIENTATION, REDUCED = 0x0112, 1
ROTATED = range(2, 9)
"""Values of the EXIF orientation that are not upright. 1 is upright; 0, which many devices write, is undefined."""

BYTES_OF_16_BIT = {
    "LA;16B": ("RGBA", ["RGBA"]),
    "RGB;16B": ("RGB", ["RGB;16B", "RGB;16L"]),
    "RGBA;16B": ("RGBA", ["RGBA;16B", "RGBA;16L"]),
    "RGB;16N": ("RGB", ["RGB;16L", "RGB;16B"]),
    "RGBA;16N": ("RGBA", ["RGBA;16L", "RGBA;16B"]),
}
"""Of 16-bit color Pillow keeps only the upper byte, or the lower one if told the other byte order. For each of its
raw modes: the mode and the raw modes to decode it with, upper bytes first. Grey with alpha of 16 bits has the
layout of RGBA of 8."""

FACTORS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies grey values of 2 and 4 bits with, so that the largest is 255."""

ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class StoredImage:
    """An image as its file stores it, and how its values are meant."""

    values: NDArray[Any]
    """(height, width), or (height, width, channels) with 2 (grey, alpha), 3 (RGB) or 4 channels (RGBA)."""
    bits: int
    """Bits of a stored value. Fewer than 8 and 12 are stored in a larger type."""
    palette: NDArray[np.uint8] | None = None
    """The color (number, 3) that each value stands for, None where values are brightness or color."""
    white_is_zero: bool = False
    """Whether 0 is meant to be shown white, and the largest value black."""


def read_stored(path: Path) -> StoredImage:
    """Decode an image file.

    Of several images in a file the largest is read if all others are reduced copies, such as previews.

    Raises:
        InputError: the image is missing, damaged, too large, of another kind, one of several of equal rank, or
            stored rotated.
    """
    with _refusing_damage(path):
        return _read_tiff(path) if _is_tiff(path) else _read_others(path)


def stored_size(path: Path) -> tuple[int, int]:
    """Return height and width of what `read_stored` returns, without decoding it. InputError: likewise."""
    with _refusing_damage(path):
        if _is_tiff(path):
            with _tiff_page(path) as page:
                return page.imagelength, page.imagewidth
        with _largest_frame(path) as image:
            return image.height, image.width


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; put it there") from None
    except Exception as error:  # decoders fail on damaged files in ways that no list of exceptions foresees
        raise InputError(
            f"{path}: cannot be decoded as a PNG, TIFF, JPEG or BMP image ({error}); replace it"
        ) from error


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in TIFF_SIGNATURES


@contextmanager
def _largest_frame(path: Path) -> Iterator[ImageFile]:
    with open_image(path, path, FORMATS) as image:
        sizes = []
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            sizes.append(image.size)
        image.seek(_largest(path, sizes, [False] * len(sizes)))
        yield image


def _read_others(path: Path) -> StoredImage:
    # Only verify() checks the checksums of a PNG: without it, damaged pixels can pass for data.
    with open_image(path, path, FORMATS) as image:
        image.verify()
    with _largest_frame(path) as image:
        stored = _decode(path, image)
        # Asking a PNG earlier would decode it.
        _check_orientation(path, image.getexif().get(ORIENTATION, 0))
        return stored


def _decode(path: Path, image: ImageFile) -> StoredImage:
    """Return the values of an image that Pillow has opened."""
    if image.mode not in MODES:
        raise InputError(f"{path}: its pixels are {image.mode}, not grey or RGB; save it as one of them")
    args = image.tile[0].args
    raw_mode = str(args[0] if isinstance(args, tuple) else args)
    if raw_mode in BYTES_OF_16_BIT:
        return StoredImage(_sixteen_bits(path, image, raw_mode), 16)
    values = _pixels(image)
    if raw_mode in FACTORS:
        return StoredImage(values // FACTORS[raw_mode], int(raw_mode[2]))
    if image.mode == "P":
        palette = np.zeros((256, 3), np.uint8)
        colors = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette[: len(colors)] = colors
        return StoredImage(values, 8, palette)
    return StoredImage(values, 1 if image.mode == "1" else 8 * values.itemsize)


def _pixels(image: Image.Image) -> NDArray[Any]:
    """Return the pixels of an image, copied some rows at a time, because Pillow needs twice their memory."""
    width, height = image.size
    pixels = np.asarray(image.crop((0, 0, width, 1)))
    values = np.empty((height, *pixels.shape[1:]), pixels.dtype)
    for top in range(0, height, ROWS_AT_A_TIME):
        values[top : top + ROWS_AT_A_TIME] = image.crop((0, top, width, min(height, top + ROWS_AT_A_TIME)))
    return values


def _sixteen_bits(path: Path, image: ImageFile, raw_mode: str) -> NDArray[np.uint16]:
    mode, raw_modes = BYTES_OF_16_BIT[raw_mode]
    halves = []
    for half in raw_modes:
        with Image.open(path) as opened:
            opened.seek(image.tell())
            tile = opened.tile[0]
            args = (half, *tile.args[1:]) if isinstance(tile.args, tuple) else half
            opened._mode = mode
            opened.tile = [tile._replace(args=args)]
            halves.append(_pixels(opened))
    high, low = halves if len(halves) == 2 else (halves[0][..., 0::2], halves[0][..., 1::2])
    values: NDArray[np.uint16] = high.astype(np.uint16)
    values <<= 8
    values |= low
    return values


@contextmanager
def _tiff_page(path: Path) -> Iterator[TiffPage]:
    with TiffFile(path) as tiff:
        pages = [page.aspage() for page in tiff.pages]
        sizes = [(page.imagewidth, page.imagelength) for page in pages]
        page = pages[_largest(path, sizes, [bool(page.subfiletype & REDUCED) for page in pages])]
        if not (page.imagewidth and page.imagelength and page.dataoffsets):
            raise InputError(f"{path}: its header has no size or no pixels; replace it")
        check_size(path, page.imagewidth, page.imagelength)
        _check_orientation(path, int(page.tags.valueof(ORIENTATION, default=0)))
        if max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))) > tiff.filehandle.size:
            raise InputError(f"{path}: its end is missing; copy it again")
        yield page


def _read_tiff(path: Path) -> StoredImage:
    with _tiff_page(path) as page:
        try:
            values: NDArray[Any] = page.asarray()
        except (ValueError, NotImplementedError):  # tifffile leaves some compressions to a package of codecs
            return _compressed_tiff(path, page)
        if page.photometric not in PHOTOMETRICS:
            raise InputError(f"{path}: its pixels are not grey or RGB; save it as one of them")
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        if page.axes not in ("YX", "YXS", "SYX") or (values.ndim == 3 and values.shape[2] > 4):
            raise InputError(f"{path}: is a stack of images; save each in a file of its own")
        colors: NDArray[Any] | None = page.colormap if page.photometric == PHOTOMETRIC.PALETTE else None
        if colors is not None and colors.max() > 255:  # 16 bits by the standard, but not by some programs
            colors = colors >> 8
        return StoredImage(
            values,
            page.bitspersample,
            None if colors is None else colors.T.astype(np.uint8),
            page.photometric == PHOTOMETRIC.MINISWHITE,
        )


def _compressed_tiff(path: Path, page: TiffPage) -> StoredImage:
    """Decode a TIFF with Pillow, which knows more compressions, to the values that are stored in it."""
    with Image.open(path, formats=["TIFF"]) as image:
        image.seek(page.index)
        stored = _decode(path, image)
    white_is_zero = page.photometric == PHOTOMETRIC.MINISWHITE
    values: NDArray[Any] = stored.values
    if white_is_zero and values.dtype in (np.uint8, bool):
        values = ~values  # Pillow has inverted them
    if page.dtype is not None and page.dtype.kind == "i":
        values = values.astype(page.dtype)
    bits = page.bitspersample if stored.bits == 16 else stored.bits
    return StoredImage(values, bits, stored.palette, white_is_zero)


def _largest(path: Path, sizes: Sequence[tuple[int, int]], reduced: Sequence[bool]) -> int:
    """Return which image of a file to read: the largest, where all others are reduced copies of it.

    Args:
        path: the file, for the error message.
        sizes: width and height of each image.
        reduced: whether the file calls it a reduced image. Others of at most half its width and height count too.
    """
    full = [number for number, one in enumerate(reduced) if not one] or list(range(len(sizes)))
    largest = max(full, key=lambda number: sizes[number][0] * sizes[number][1])
    width, height = sizes[largest]
    others = [sizes[number] for number in full if number != largest]
    if any(2 * one > width + 1 or 2 * two > height + 1 for one, two in others):
        listed = ", ".join(f"{one} x {two}" for one, two in sizes[:4]) + (", ..." if len(sizes) > 4 else "")
        raise InputError(f"{path}: holds {len(sizes)} images ({listed} pixels); save each in a file of its own")
    return largest


def _check_orientation(path: Path, orientation: int) -> None:
    if orientation in ROTATED:
        raise InputError(
            f"{path}: is stored rotated or mirrored (EXIF orientation {orientation}), so annotations cannot be "
            "placed safely; save it upright"
        )
