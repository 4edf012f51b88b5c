"""The pictures that a segmentation writes: labels, overlays, and the small ones of the report."""

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import imwrite

from microseg.measurement.stereology import Labels, Mask
from microseg.prediction.logits import Logits, rescaled

OUTLINE = (255, 150, 0)
LARGEST_OVERLAY = 8192
"""Larger micrographs have a smaller overlay, of at most so many pixels a side."""
JPEG_QUALITY, THUMBNAIL_QUALITY = 90, 70


def outlines(mask: Mask) -> Mask:
    """Return the pixels of a mask that have a neighbour outside of it, above, below, left or right."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner


def write_overlay(path: Path, micrograph: NDArray[np.uint8], mask: Mask) -> None:
    """Write the micrograph with the islands' outlines as a JPEG."""
    factor = -(-max(mask.shape) // LARGEST_OVERLAY)
    grey, outline = _reduced(micrograph, factor), _reduced_outlines(mask, factor)
    colours = np.repeat(grey[..., None], 3, axis=2)
    colours[outline] = OUTLINE
    Image.fromarray(colours).save(path, format="JPEG", quality=JPEG_QUALITY)


def write_labels(path: Path, labels: Labels, pixel_size_um: float | None) -> None:
    """Write numbered islands as a compressed TIFF that ImageJ opens with its scale.

    16-bit numbers, or 32-bit ones (which are floating-point numbers in ImageJ) from 65,536 islands on.
    """
    kind = np.uint16 if labels.max(initial=0) <= np.iinfo(np.uint16).max else np.float32
    resolution = (1.0, 1.0) if pixel_size_um is None else (1 / pixel_size_um, 1 / pixel_size_um)
    unit = "pixel" if pixel_size_um is None else "um"
    imwrite(
        path,
        labels.astype(kind),
        imagej=True,
        compression="zlib",
        resolution=resolution,
        metadata={"unit": unit, "axes": "YX"},
    )


def write_probability(path: Path, logits: Logits) -> None:
    """Write the probabilities that logits stand for as a 16-bit TIFF in which 65,535 is certainty."""
    imwrite(path, rescaled(logits, np.uint16), compression="zlib", predictor=True)


def thumbnails(micrograph: NDArray[np.uint8], mask: Mask, logits: Logits, width: int) -> dict[str, str]:
    """Return small pictures for the report as data addresses: micrograph, transparent outline, and probability.

    Each is at most `width` pixels wide, and no larger than the original.
    """
    factor = max(1, -(-mask.shape[1] // width))
    shades = _reduced(rescaled(logits, np.uint8), factor)
    # A palette of two: nothing, and the colour of outlines.
    outline = Image.fromarray(_reduced_outlines(mask, factor).astype(np.uint8), mode="P")
    outline.putpalette([0, 0, 0, *OUTLINE])
    return {
        "micrograph": _address(Image.fromarray(_reduced(micrograph, factor)), "JPEG", quality=THUMBNAIL_QUALITY),
        "outline": _address(outline, "PNG", transparency=0, optimize=True),
        "probability": _address(Image.fromarray(shades), "JPEG", quality=THUMBNAIL_QUALITY),
    }


def strip_address(grey: NDArray[np.uint8], width: int) -> str:
    """Return a strip of a micrograph as a data address, at most `width` pixels wide."""
    return _address(Image.fromarray(_reduced(grey, max(1, -(-grey.shape[1] // width)))), "PNG")


def _reduced(grey: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey


def _reduced_outlines(mask: Mask, factor: int) -> Mask:
    """Return the outlines of a mask that has been made smaller, so that they are one pixel wide there too."""
    if factor == 1:
        return outlines(mask)
    return outlines(_reduced(mask.astype(np.uint8) * np.uint8(255), factor) >= 128)


def _address(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
