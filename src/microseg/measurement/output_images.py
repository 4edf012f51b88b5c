"""The images a run writes: labels, overlays and probability maps, and the thumbnails of the report."""

import base64
import io
from pathlib import Path

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tifffile import imwrite

from microseg.measurement.formatting import scale_bar
from microseg.measurement.stereology import Labels, Mask
from microseg.prediction.logits import Logits, rescaled

OUTLINE = (255, 150, 0)
LARGEST_OVERLAY = 8192
"""Overlays of larger micrographs are reduced to at most this many pixels a side."""
JPEG_QUALITY, THUMBNAIL_QUALITY = 90, 70


def write_overlay(
    path: Path, micrograph: NDArray[np.uint8], mask: Mask, pixel_size_um: float | None = None
) -> None:
    """Write the micrograph, (height, width), with the outlines of the islands and a scale bar as a JPEG."""
    factor = -(-max(mask.shape) // LARGEST_OVERLAY)
    grey, outline = _reduce(micrograph, factor), _outlines(mask, factor)
    overlay = np.repeat(grey[..., None], 3, axis=2)
    overlay[outline] = OUTLINE
    image = Image.fromarray(overlay)
    if pixel_size_um is not None:
        _draw_scale_bar(image, factor * pixel_size_um)
    image.save(path, format="JPEG", quality=JPEG_QUALITY)


def _draw_scale_bar(image: Image.Image, pixel_size_um: float) -> None:
    """Draw a scale bar, white with a black edge, in the lower right corner of an image."""
    fraction, label = scale_bar(image.width * pixel_size_um)
    thickness, length = max(2, image.width // 200), round(fraction * image.width)
    right, bottom = image.width - 3 * thickness, image.height - 3 * thickness
    left, top = right - length, bottom - thickness
    # Pillow's own font has no letter for micro.
    font = ImageFont.truetype(findfont("DejaVu Sans"), max(10, image.width // 40))
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, right - 1, bottom - 1), fill="white", outline="black")
    middle = (left + length / 2, top - thickness)
    draw.text(middle, label, "white", font, "mb", stroke_width=max(1, thickness // 3), stroke_fill="black")


def write_labels(path: Path, labels: Labels, pixel_size_um: float | None) -> None:
    """Write numbered islands, (height, width), as a compressed TIFF that ImageJ opens with its scale.

    The numbers have 16 bits, or 32 (floating-point numbers in ImageJ) from 65,536 islands on.
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
    """Write the probabilities of logits, (height, width), as a 16-bit TIFF: 65,535 is a probability of 1."""
    imwrite(path, rescaled(logits, np.uint16), compression="zlib", predictor=True)


def thumbnails(micrograph: NDArray[np.uint8], mask: Mask, logits: Logits | None, width: int) -> dict[str, str]:
    """Return the thumbnails of the report as data URLs: micrograph, outline (else transparent), any probability.

    Each is at most `width` pixels wide, and no larger than the original.
    """
    factor = max(1, -(-mask.shape[1] // width))
    # A palette of two colours: transparent, and that of outlines.
    outline = Image.fromarray(_outlines(mask, factor).astype(np.uint8), mode="P")
    outline.putpalette([0, 0, 0, *OUTLINE])
    greys = {"micrograph": micrograph}
    if logits is not None:
        greys["probability"] = rescaled(logits, np.uint8)
    jpegs = {name: Image.fromarray(_reduce(grey, factor)) for name, grey in greys.items()}
    return {name: _data_url(image, "JPEG", quality=THUMBNAIL_QUALITY) for name, image in jpegs.items()} | {
        "outline": _data_url(outline, "PNG", transparency=0, optimize=True)
    }


def bar_thumbnail(bar: NDArray[np.uint8], width: int) -> str:
    """Return an information bar, (height, width), as a data URL, at most `width` pixels wide."""
    return _data_url(Image.fromarray(_reduce(bar, max(1, -(-bar.shape[1] // width)))), "PNG")


def _reduce(grey: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey


def _outlines(mask: Mask, factor: int) -> Mask:
    """Return the outlines of a mask after reducing it by `factor`: one pixel wide in the smaller image too.

    They are the pixels of the mask that have a neighbour outside of it above, below, left or right.
    """
    if factor > 1:
        mask = _reduce(mask.astype(np.uint8) * np.uint8(255), factor) >= 128
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner


def _data_url(image: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
