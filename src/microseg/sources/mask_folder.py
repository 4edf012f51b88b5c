"""A folder of masks or label images, one for each micrograph, as lines of annotations.csv.

Masks have 0 for the background and one other value for the foreground; of label images, download.foreground says
which values are foreground. Drawing the polygons gives exactly the masks again.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from microseg.annotations.polygonize import Mask, annotation_line, empty_line, polygonize
from microseg.common.errors import InputError
from microseg.common.parallel import map_in_processes
from microseg.micrographs.folders import walk_files
from microseg.micrographs.label_images import read_labels
from microseg.sources.foreground import MOST_LISTED, AnnotatedClass, choose_classes, listed
from microseg.sources.pairing import Micrographs, Size

log = logging.getLogger(__name__)

# JPEG alters values, so that foreground and background could no longer be distinguished.
SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})

BACKGROUND = "0"
NONZERO = "nonzero"
"""The value of download.foreground for images that number their islands."""


class _Mask(NamedTuple):
    """What has to be known of a mask before its foreground is."""

    path: Path
    size: Size
    counts: Mapping[str, int]
    shows_zero_bright: bool


def mask_lines(
    folder: Path, micrographs: Micrographs, foreground: Sequence[str] | None, suffix: str
) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv below its header, each with the path of its mask.

    A mask without foreground declares that its micrograph shows no island; a micrograph without a mask is not
    used. `foreground` has the values of the foreground, or `NONZERO` alone; `suffix` is what the names of masks
    have behind that of the micrograph.

    Raises:
        InputError: a mask cannot be read, has another size than its micrograph, there is no micrograph for it, or
            the foreground is ambiguous.
    """
    paths, chosen = find_masks(folder, micrographs, foreground, suffix)
    pairs = list(paths.items())
    polygonized = map_in_processes(partial(_lines_of_mask, micrographs, chosen), pairs, "polygonizing masks")
    for (_, path), lines in zip(pairs, polygonized, strict=True):
        yield from ((line, path.as_posix()) for line in lines)


def find_masks(
    folder: Path, micrographs: Micrographs, foreground: Sequence[str] | None, suffix: str
) -> tuple[dict[str, Path], frozenset[str]]:
    """Return the file of each mask by its micrograph, and the values of the foreground; see `mask_lines`."""
    paths = _find_masks(folder, micrographs, suffix)
    masks = list(map_in_processes(_look_at, list(paths.values()), "reading masks"))
    for name, mask in zip(paths, masks, strict=True):
        micrographs.check_size(f"{mask.path}:", name, mask.size)
    return paths, _choose_values(folder, masks, foreground, micrographs.option("foreground"))


def _find_masks(folder: Path, micrographs: Micrographs, suffix: str) -> dict[str, Path]:
    """Return the masks in `folder` by the names of their micrographs, in the order of these."""
    masks: dict[str, Path] = {}
    for file in walk_files(folder):
        if file.suffix.lower() not in SUFFIXES:
            raise InputError(f"{file}: a mask has to be a PNG, TIFF or BMP image; convert or remove it")
        relative = file.relative_to(folder).with_name(f"{file.stem.removesuffix(suffix)}{file.suffix}")
        name = micrographs.find(relative.as_posix(), file)
        if name not in micrographs.sizes or not file.stem.endswith(suffix):
            raise InputError(
                f"{file}: no micrograph has this name; rename or remove the mask, or set "
                f"{micrographs.option('mask_suffix')} to what follows the name of the micrograph, such as _label"
            )
        if name in masks:
            raise InputError(f"{file}: {masks[name].name} is a mask of the same micrograph; remove one")
        masks[name] = file
    if not masks:
        raise InputError(f"{folder}: holds no mask; put one there for each micrograph, under its name")
    return {name: masks[name] for name in micrographs.sizes if name in masks}


def _look_at(path: Path) -> _Mask:
    image = read_labels(path)
    height, width = image.values.shape
    return _Mask(path, (height, width), image.counts(), image.shows_zero_bright)


def _choose_values(
    folder: Path, masks: Sequence[_Mask], foreground: Sequence[str] | None, option: str
) -> frozenset[str]:
    """Return the values that are foreground: those of the user, or the only one beside 0."""
    values = list(dict.fromkeys(value for mask in masks for value in mask.counts))
    others = [value for value in values if value != BACKGROUND]
    if foreground is not None:
        if list(foreground) == [NONZERO]:
            return frozenset(others)
        return choose_classes(folder, foreground, values, partial(_classes, masks), "mask", option)
    odd = [mask for mask in masks if BACKGROUND not in mask.counts or len(mask.counts) > 2]
    if odd or len(others) > 1:
        first = odd[0] if odd else None
        held = (
            f"{first.path}: holds {', '.join(list(first.counts)[:MOST_LISTED])}"
            if first
            else f"{folder}: holds several values"
        )
        raise InputError(
            f"{held}, so the foreground is ambiguous; of all masks, values are {listed(_classes(masks), 'mask')}; "
            f"set {option} to the values of the foreground, such as [{others[0]}], or to {NONZERO} if "
            "they number islands"
        )
    inverted = [mask.path for mask in masks if mask.shows_zero_bright and len(mask.counts) > 1]
    if inverted:
        log.warning(
            "%s: viewers show 0 bright in it and %d others (color table, WhiteIsZero), but stored values count: "
            "%s is foreground; if it is the background, set %s to 0",
            inverted[0],
            len(inverted) - 1,
            others[0],
            option,
        )
    return frozenset(others)


def _classes(masks: Sequence[_Mask]) -> list[AnnotatedClass]:
    pixels = Counter[str]()
    for mask in masks:
        pixels.update(mask.counts)
    numbers = Counter(value for mask in masks for value in mask.counts)
    return [AnnotatedClass(value, numbers[value], count / pixels.total()) for value, count in pixels.items()]


def _lines_of_mask(micrographs: Micrographs, foreground: frozenset[str], pair: tuple[str, Path]) -> list[str]:
    micrograph, path = pair
    outlines = polygonize(mask_of(micrographs, foreground, micrograph, path))
    name = micrographs.new_names[micrograph]
    return [annotation_line(name, outline) for outline in outlines] or [empty_line(name)]


def mask_of(micrographs: Micrographs, foreground: frozenset[str], micrograph: str, path: Path) -> Mask:
    """Return the mask of a micrograph from its file, (height, width) without the rows that are cut off."""
    height, _ = micrographs.kept(micrograph) or (0, 0)
    return read_labels(path).mask(foreground)[:height]
