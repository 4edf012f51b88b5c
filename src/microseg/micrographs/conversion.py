"""From the pictures that microscopes and people save to the 8-bit grey micrographs of the pipeline.

PNG, TIFF and JPEG; 8 or 16 bits; grey, RGB, RGBA or palette. Colour becomes grey by `skimage.color.rgb2gray`
(Rec. 709 luma), as in the study; transparency is ignored. Of 16-bit grey values the 8 highest of the bits in use
are kept, and which those are is decided once for a whole set: recordings of 12 bits do not turn black, and all
micrographs of a set keep one scale of brightness. A few hot pixels do not count, they become white. 16-bit colour
loses its 8 lower bits.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2gray

from microseg.common.errors import InputError
from microseg.micrographs.images import open_picture

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg"})
FORMATS = ("PNG", "TIFF", "JPEG")
UPRIGHT = 1
EXIF_ORIENTATION = 0x0112
PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO = 262, 0

LARGEST_SHARE_SATURATED = Fraction(1, 10_000)
"""The share of a set's 16-bit pixels that may be too bright for the scale that the others need."""

Grey = NDArray[np.uint8] | NDArray[np.uint16]


def read_grey(path: Path) -> Grey:
    """Read any accepted picture as grey values (height, width), uint8 or, for 16-bit grey, uint16.

    Raises:
        InputError: the picture is damaged, too large, of another kind, has several pages, or is stored rotated.
    """
    values, mode = _decode(path)
    if mode.startswith("I;16"):
        return values.astype(np.uint16)
    if mode == "1":
        return values.astype(np.uint8) * np.uint8(255)
    if mode in ("L", "LA"):
        return values.reshape(*values.shape[:2], -1)[..., 0].astype(np.uint8)
    return colour_to_grey(values[..., :3].astype(np.uint8))


def colour_to_grey(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of a colour picture, (height, width, 3) of 0 to 255, as (height, width) of 0 to 255."""
    grey: NDArray[np.float64] = rgb2gray(colour)
    return np.rint(grey * 255).astype(np.uint8)


def count_bits(grey: Grey) -> NDArray[np.int64]:
    """Return how many pixels need 0, 1, ... 16 bits for their value: 17 numbers."""
    counts = np.bincount(grey.ravel(), minlength=2**16)
    starts = [0, *(2**bits for bits in range(16))]
    return np.add.reduceat(counts, starts)


def bits_in_use(counts: Iterable[NDArray[np.int64]]) -> tuple[int, int]:
    """Decide on one scale for a set of 16-bit micrographs.

    Args:
        counts: what `count_bits` returns for each.

    Returns:
        The bits, 8 to 16, that all values need but for at most a ten-thousandth of them, and the number of these.
    """
    pixels = np.sum(list(counts), axis=0)
    brighter = pixels.sum() - pixels.cumsum()
    allowed = pixels.sum() * LARGEST_SHARE_SATURATED
    bits = next(bits for bits in range(8, 17) if int(brighter[bits]) <= allowed)
    return bits, int(brighter[bits])


def to_8_bit(grey: Grey, bits: int) -> NDArray[np.uint8]:
    """Keep the 8 highest of `bits` bits of 16-bit grey values, white where there are more; 8-bit ones stay."""
    if grey.dtype == np.uint8:
        return grey.astype(np.uint8)
    scaled: NDArray[np.uint8] = np.minimum(grey >> (bits - 8), 255).astype(np.uint8)
    return scaled


def _decode(path: Path) -> tuple[NDArray[Any], str]:
    try:
        # The checksums of a PNG are looked at by verify() alone: without it damaged pixels can pass for data.
        with open_picture(path, path, FORMATS) as picture:
            picture.verify()
        with open_picture(path, path, FORMATS) as picture:
            _refuse_unusable(picture, path)
            if picture.mode in ("P", "PA"):
                return np.asarray(picture.convert("RGB")), "RGB"
            return _black_is_zero(picture), picture.mode
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; put it there") from None
    except Exception as error:  # Decoders fail on damaged files in ways that no list of exceptions foresees.
        raise InputError(
            f"{path}: cannot be decoded as a PNG, TIFF or JPEG image ({error}); replace it"
        ) from error


def _black_is_zero(picture: Image.Image) -> NDArray[Any]:
    """Return the pixels of a picture; Pillow turns a TIFF's WhiteIsZero round up to 8 bits, but not with 16."""
    values = np.asarray(picture)
    tags = getattr(picture, "tag_v2", {})
    if picture.mode.startswith("I;16") and tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
        return np.uint16(2**16 - 1) - values.astype(np.uint16)
    return values


def _refuse_unusable(picture: Image.Image, path: Path) -> None:
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16L", "I;16B"):
        raise InputError(
            f"{path}: its pixels are of the kind {picture.mode!r}; save it with 8 or 16 bits, grey, RGB or RGBA"
        )
    if getattr(picture, "n_frames", 1) > 1:
        raise InputError(f"{path}: holds several pictures; save each as a file of its own")
    orientation = picture.getexif().get(EXIF_ORIENTATION, UPRIGHT)
    if orientation != UPRIGHT:
        raise InputError(
            f"{path}: is stored rotated or mirrored (EXIF orientation {orientation}), so annotations cannot be "
            "placed safely; save it upright"
        )
