"""The user's own folder with images/, annotations and perhaps metadata.csv becomes a raw dataset."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microseg.annotations.polygonize import HEADER_LINE, Mask, annotation_line, empty_line, polygonize
from microseg.annotations.polygons import is_file_name
from microseg.common.errors import InputError
from microseg.common.parallel import map_in_processes
from microseg.common.tables import delimiter_of, read_lines, read_table, split_line
from microseg.micrographs.conversion import SUFFIXES, bits_in_use, count_bits, read_grey, to_8_bit
from microseg.micrographs.images import image_size, write_micrograph
from microseg.micrographs.line_map import write_line_map
from microseg.micrographs.metadata import IMAGE_COLUMN
from microseg.sources.coco import coco_lines

log = logging.getLogger(__name__)

IMAGES, METADATA = "images", "metadata.csv"
TABLE, COCO, MASKS = "annotations.csv", "annotations.json", "masks"


def write_folder(target: Path, source: Path, crop_bottom: int) -> None:
    """Fill the existing, empty folder `target` with images/ (8-bit grey PNG), annotations.csv and metadata.csv.

    The table origins.csv beside them says where in the user's folder their lines come from.

    Args:
        target: the raw dataset to write.
        source: the user's folder, with its annotations in one of three forms: annotations.csv in the published
            dialect or with commas or tabs, annotations.json as a COCO instance file, or a folder masks/.
        crop_bottom: rows to cut off at the bottom of every micrograph, the microscope's information bar. What of
            a polygon lies there is outside the micrograph from then on, and reported as such by parse_csv.

    Raises:
        InputError: there is no such folder, something in it is missing or cannot be read, or a micrograph is not
            higher than what is to be cut off.
    """
    pictures = _find_pictures(source)
    form = _find_form(source)
    (target / IMAGES).mkdir()
    _write_images(pictures, target / IMAGES, crop_bottom)
    names = {picture.name: f"{picture.stem}.png" for picture in pictures}
    if (source / METADATA).exists():
        write_metadata(source / METADATA, target / METADATA, names)
    origins: list[tuple[str, int | None, str]] = [
        (TABLE, None, (source / form).as_posix()),
        (METADATA, None, (source / METADATA).as_posix()),
    ]
    lines = _annotation_lines(source / form, pictures, crop_bottom)
    with (target / TABLE).open("w", encoding="utf-8", newline="\n") as file:
        for number, (line, origin) in enumerate(lines, start=1):
            file.write(f"{line}\n")
            if origin is not None:
                origins.append((TABLE, number, origin))
    write_line_map(target, origins)


def _find_form(source: Path) -> str:
    """Return which of the three forms of annotations the folder has."""
    forms = [name for name in (TABLE, COCO, MASKS) if (source / name).exists()]
    if len(forms) != 1:
        found = " and ".join(forms) or "none"
        raise InputError(f"{source}: one of {TABLE}, {COCO} and {MASKS}/ is needed, found {found}")
    return forms[0]


def _annotation_lines(
    annotations: Path, pictures: list[Path], crop_bottom: int
) -> Iterator[tuple[str, str | None]]:
    """Yield the lines of annotations.csv from annotations of any form, and the origin of each.

    The lines of a table stay on their lines and have none.
    """
    names = {picture.name: f"{picture.stem}.png" for picture in pictures}
    if annotations.name == TABLE:
        yield from ((line, None) for line in table_lines(annotations, names))
        return
    yield HEADER_LINE, None
    if annotations.name == COCO:
        sizes = {picture.name: image_size(picture) for picture in pictures}
        yield from coco_lines(annotations, sizes, names, crop_bottom)
    else:
        yield from mask_lines(annotations, pictures, crop_bottom)


def _find_pictures(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; set download.path to the folder of your micrographs")
    folder = source / IMAGES
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; put your micrographs there")
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    if len(pictures) < len(files):
        log.info("%s: %d files are neither PNG, TIFF nor JPEG and left out", folder, len(files) - len(pictures))
    if not pictures:
        raise InputError(f"{folder}: holds no PNG, TIFF or JPEG image; put your micrographs there")
    stems: dict[str, Path] = {}
    for picture in pictures:
        if not is_file_name(picture.name):
            raise InputError(f"{picture}: this file name works on some systems only; rename it")
        if picture.stem in stems:
            raise InputError(
                f"{picture}: {stems[picture.stem].name} has the same name but for its ending; rename one of them"
            )
        stems[picture.stem] = picture
    return pictures


def _write_images(pictures: list[Path], folder: Path, crop_bottom: int) -> None:
    inspect = partial(_write_image, folder, crop_bottom)
    deep = [picture for picture in map_in_processes(inspect, pictures, "converting") if picture is not None]
    if deep:
        bits, saturated = bits_in_use(counts for _, counts in deep)
        log.info("%d micrographs have 16-bit grey values: the 8 highest of %d bits are kept", len(deep), bits)
        if saturated:
            log.warning("%d pixels of them are brighter than that and become white", saturated)
        scale = partial(_write_scaled, folder, crop_bottom, bits)
        for _ in map_in_processes(scale, [picture for picture, _ in deep], "16 to 8 bits"):
            pass


def _write_image(folder: Path, crop_bottom: int, picture: Path) -> tuple[Path, NDArray[np.int64]] | None:
    """Convert an 8-bit picture; return a 16-bit one with the bits its pixels need, to be scaled with the rest."""
    grey = read_grey(picture)
    if crop_bottom >= len(grey):
        raise InputError(
            f"{picture}: has {len(grey)} rows, so {crop_bottom} cannot be cut off; lower download.crop_bottom"
        )
    if grey.dtype != "uint8":
        return picture, count_bits(grey[: len(grey) - crop_bottom])
    write_micrograph(folder / f"{picture.stem}.png", to_8_bit(grey, 8)[: len(grey) - crop_bottom])
    return None


def _write_scaled(folder: Path, crop_bottom: int, bits: int, picture: Path) -> None:
    grey = read_grey(picture)
    write_micrograph(folder / f"{picture.stem}.png", to_8_bit(grey, bits)[: len(grey) - crop_bottom])


def table_lines(table: Path, names: Mapping[str, str]) -> Iterator[str]:
    """Yield every line of a table of annotations, the header too, in the published dialect.

    A line stays on its line, usable or not: whether it can be used is for the stage parse_csv to say, which can
    also leave it out.

    Args:
        table: the user's table, with semicolons, commas or tabs.
        names: the new names of the images.

    Raises:
        InputError: the table cannot be read, or a line cannot be split into fields.
    """
    delimiter, next_number = "", 1
    for number, line in read_lines(table):
        delimiter = delimiter or delimiter_of(line)
        try:
            fields = [field.strip() for field in split_line(line, delimiter)]
        except ValueError as error:
            raise InputError(f"{table}, line {number}: {error}; fix the line") from None
        if ";" in "".join(fields):
            raise InputError(f"{table}, line {number}: a field holds a semicolon; take it out")
        yield from [""] * (number - next_number)
        yield ";".join([names.get(fields[0], fields[0]), *fields[1:]])
        next_number = number + 1


def write_metadata(table: Path, target: Path, names: Mapping[str, str]) -> None:
    """Write the user's metadata with commas and the new names of the images; every line stays on its line."""
    header, rows = read_table(table)
    if IMAGE_COLUMN not in header:
        raise InputError(f"{table}, line 1: no column {IMAGE_COLUMN}; add one with the names of the images")
    column = header.index(IMAGE_COLUMN)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        next_number = 2
        for number, fields in rows:
            file.write("\n" * (number - next_number))
            fields[column] = names.get(fields[column], fields[column])
            writer.writerow(fields)
            next_number = number + 1


# A JPEG's values are not those that were saved: no line between foreground and background is left.
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff"})


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
        if file.suffix.lower() not in MASK_SUFFIXES:
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
    outlines = polygonize(mask[: height - crop_bottom])
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
