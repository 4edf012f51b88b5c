"""Converting images as microscopes and people save them into the 8-bit grey micrographs of the pipeline.

Accepted are PNG, TIFF and JPEG, 8 or 16 bits, grey, RGB, RGBA or palette. Color becomes grey by
`skimage.color.rgb2gray` (Rec. 709 luma), as in the study; transparency is ignored. Of 16-bit grey values, the 8
highest of the bits in use are kept. Which bits those are is decided once for the whole set: 12-bit recordings do
not turn black, and all micrographs keep one brightness scale. A few hot pixels do not count; they saturate. 16-bit
color loses its 8 lower bits.
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
from microseg.micrographs.images import open_image

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg"})
FORMATS = ("PNG", "TIFF", "JPEG")
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16L", "I;16B"})

EXIF_ORIENTATION, UPRIGHT = 0x0112, 1
PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO = 262, 0

LARGEST_SATURATED_FRACTION = Fraction(1, 10_000)
"""The fraction of a set's 16-bit pixels that may be too bright for the scale of the others."""

Grey = NDArray[np.uint8] | NDArray[np.uint16]


def read_grey(path: Path) -> Grey:
    """Read any accepted image as grey values (height, width): uint8, or uint16 for 16-bit grey.

    Raises:
        InputError: the image is damaged, too large, of another kind, has several pages, or is stored rotated.
    """
    values, mode = _decode(path)
    if mode.startswith("I;16"):
        return values.astype(np.uint16)
    if mode == "1":
        return values.astype(np.uint8) * np.uint8(255)
    if mode in ("L", "LA"):
        return values.reshape(*values.shape[:2], -1)[..., 0].astype(np.uint8)
    return rgb_to_grey(values[..., :3].astype(np.uint8))


def rgb_to_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of a color image, (height, width, 3) of 0 to 255, as (height, width) of 0 to 255."""
    grey: NDArray[np.float64] = rgb2gray(rgb)
    return np.rint(grey * 255).astype(np.uint8)


def _decode(path: Path) -> tuple[NDArray[Any], str]:
    """Return the pixels of an image and their mode, by Pillow's name."""
    try:
        # Only verify() checks the checksums of a PNG: without it, damaged pixels can pass for data.
        with open_image(path, path, FORMATS) as image:
            image.verify()
        with open_image(path, path, FORMATS) as image:
            _check_usable(image, path)
            if image.mode in ("P", "PA"):
                return np.asarray(image.convert("RGB")), "RGB"
            return _black_is_zero(image), image.mode
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; put it there") from None
    except Exception as error:  # decoders fail on damaged files in ways that no list of exceptions foresees
        raise InputError(
            f"{path}: cannot be decoded as a PNG, TIFF or JPEG image ({error}); replace it"
        ) from error


def _check_usable(image: Image.Image, path: Path) -> None:
    """Raise an InputError for an image whose pixels or orientation the pipeline cannot use."""
    if image.mode not in MODES:
        raise InputError(
            f"{path}: its pixels have the mode {image.mode!r}; save it with 8 or 16 bits, grey, RGB or RGBA"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(f"{path}: holds several images; save each in a file of its own")
    orientation = image.getexif().get(EXIF_ORIENTATION, UPRIGHT)
    if orientation != UPRIGHT:
        raise InputError(
            f"{path}: is stored rotated or mirrored (EXIF orientation {orientation}), so annotations cannot be "
            "placed safely; save it upright"
        )


def _black_is_zero(image: Image.Image) -> NDArray[Any]:
    """Return the pixels of an image. Pillow inverts the WhiteIsZero of a TIFF up to 8 bits, but not with 16."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") and tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
        return np.uint16(2**16 - 1) - values.astype(np.uint16)
    return values


def count_bits(grey: Grey) -> NDArray[np.int64]:
    """Return how many pixels need 0, 1, ... 16 bits for their value: 17 numbers."""
    counts = np.bincount(grey.ravel(), minlength=2**16)
    starts = [0, *(2**bits for bits in range(16))]
    return np.add.reduceat(counts, starts)


def bits_in_use(counts: Iterable[NDArray[np.int64]]) -> tuple[int, int]:
    """Choose the brightness scale of a set of 16-bit micrographs.

    Args:
        counts: for each micrograph, the result of `count_bits`.

    Returns:
        The number of bits, 8 to 16, that suffices for all but one in ten thousand pixels, and the number of pixels
        that need more.
    """
    pixels = np.sum(list(counts), axis=0)
    brighter = pixels.sum() - pixels.cumsum()
    allowed = pixels.sum() * LARGEST_SATURATED_FRACTION
    bits = next(bits for bits in range(8, 17) if int(brighter[bits]) <= allowed)
    return bits, int(brighter[bits])


def to_8_bit(grey: Grey, bits: int) -> NDArray[np.uint8]:
    """Keep the 8 highest of `bits` bits of 16-bit grey values, larger ones become white; 8-bit values stay."""
    if grey.dtype == np.uint8:
        return grey.astype(np.uint8)
    scaled: NDArray[np.uint8] = np.minimum(grey >> (bits - 8), 255).astype(np.uint8)
    return scaled
