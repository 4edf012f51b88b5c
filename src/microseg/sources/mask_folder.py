"""Reading a folder of mask images, one for each micrograph, paired by name but for the ending."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from microseg.annotations.tracing import Mask, trace_mask
from microseg.common.errors import InputError
from microseg.common.parallel import map_in_processes
from microseg.micrographs.conversion import read_grey
from microseg.sources.annotation_lines import annotation_line, empty_line

# A JPEG's values are not those that were saved: no line between foreground and background is left.
SUFFIXES = frozenset({".png", ".tif", ".tiff"})


def mask_lines(folder: Path, pictures: Sequence[Path], crop_bottom: int) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv, below its header, each with its mask, in the order of the pictures.

    The polygons give exactly the masks when they are drawn. A mask without foreground says that its micrograph
    shows no island; a micrograph without a mask is not used.

    Args:
        folder: the masks: 0 for the background, one other value for the foreground.
        pictures: the micrographs.
        crop_bottom: rows to cut off at the bottom of every mask, as of its micrograph.

    Raises:
        InputError: a mask cannot be read, holds more than two values, has another size than its micrograph, or
            there is no micrograph for it.
    """
    masks = _find_masks(folder, {picture.stem: picture for picture in pictures})
    pairs = [(masks[picture.stem], picture) for picture in pictures if picture.stem in masks]
    traced = map_in_processes(partial(_trace, crop_bottom), pairs, "tracing masks")
    for (mask, _), lines in zip(pairs, traced, strict=True):
        yield from ((line, mask.as_posix()) for line in lines)


def _find_masks(folder: Path, pictures: Mapping[str, Path]) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        if file.suffix.lower() not in SUFFIXES:
            raise InputError(f"{file}: a mask has to be a PNG or TIFF image; convert or remove it")
        if file.stem not in pictures:
            raise InputError(f"{file}: no micrograph has this name; rename or remove the mask")
        if file.stem in masks:
            raise InputError(f"{file}: {masks[file.stem].name} is a mask of the same micrograph; remove one")
        masks[file.stem] = file
    if not masks:
        raise InputError(f"{folder}: holds no mask; put one there for each micrograph, under its name")
    return masks


def _trace(crop_bottom: int, pair: tuple[Path, Path]) -> list[str]:
    path, picture = pair
    mask = _read_mask(path)
    height, width = read_grey(picture).shape
    if mask.shape != (height, width):
        raise InputError(
            f"{path}: has {mask.shape[1]} x {mask.shape[0]} pixels, its micrograph {width} x {height}; "
            "give both the same size"
        )
    outlines = trace_mask(mask[: height - crop_bottom])
    name = f"{picture.stem}.png"
    return [annotation_line(name, outline) for outline in outlines] or [empty_line(name)]


def _read_mask(path: Path) -> Mask:
    grey = read_grey(path)
    values = np.unique(grey)
    foreground = values[values != 0]
    if len(foreground) > 1:
        raise InputError(
            f"{path}: holds {len(values)} values; a mask has 0 for the background and one for the foreground"
        )
    mask: Mask = grey != 0
    return mask
