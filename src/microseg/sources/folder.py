"""The source "folder": the user's own folder with images/, annotations and perhaps metadata.csv."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microseg.annotations.polygonize import HEADER_LINE, Mask, annotation_line, empty_line, polygonize
from microseg.common.errors import InputError
from microseg.common.files import is_file_name
from microseg.common.parallel import map_in_processes
from microseg.common.tables import delimiter_of, read_lines, read_table, split_line
from microseg.micrographs.conversion import Scale, Scales, count_values, read_grey, to_8_bit
from microseg.micrographs.decoding import SUFFIXES
from microseg.micrographs.images import image_size, write_micrograph
from microseg.micrographs.line_map import write_line_map
from microseg.micrographs.metadata import IMAGE_COLUMN
from microseg.sources.coco import coco_lines

log = logging.getLogger(__name__)

IMAGES, METADATA = "images", "metadata.csv"
TABLE, COCO, MASKS = "annotations.csv", "annotations.json", "masks"

# JPEG alters values, so that foreground and background of a mask could no longer be distinguished.
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff"})


def write_folder(target: Path, source: Path, crop_bottom: int) -> None:
    """Fill the existing, empty folder `target` with images/ (8-bit grey PNG), annotations.csv and metadata.csv.

    The table line_map.csv beside them says where in the user's folder their lines come from.

    Args:
        target: the raw dataset to write.
        source: the user's folder, with annotations in one of three forms: annotations.csv in the published dialect
            or with commas or tabs, annotations.json as a COCO instance file, or a folder masks/.
        crop_bottom: rows to cut off at the bottom of every micrograph, the microscope's information bar. Polygons
            that reach into it then lie partly outside the micrograph; parse_csv reports them.

    Raises:
        InputError: there is no such folder, something in it is missing or cannot be read, or a micrograph has no
            more rows than are to be cut off.
    """
    images = _find_images(source)
    form = _find_form(source)
    (target / IMAGES).mkdir()
    _write_images(images, target / IMAGES, crop_bottom)
    new_names = {image.name: f"{image.stem}.png" for image in images}
    if (source / METADATA).exists():
        write_metadata(source / METADATA, target / METADATA, new_names)
    places: list[tuple[str, int | None, str]] = [
        (TABLE, None, (source / form).as_posix()),
        (METADATA, None, (source / METADATA).as_posix()),
    ]
    lines = _annotation_lines(source / form, images, new_names, crop_bottom)
    with (target / TABLE).open("w", encoding="utf-8", newline="\n") as file:
        for number, (line, place) in enumerate(lines, start=1):
            file.write(f"{line}\n")
            if place is not None:
                places.append((TABLE, number, place))
    write_line_map(target, places)


def _find_images(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; set download.path to the folder of your micrographs")
    folder = source / IMAGES
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; put your micrographs there")
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if len(images) < len(files):
        log.info("%s: ignores %d files that are not PNG, TIFF, JPEG or BMP", folder, len(files) - len(images))
    if not images:
        raise InputError(f"{folder}: holds no PNG, TIFF, JPEG or BMP image; put your micrographs there")
    stems: dict[str, Path] = {}
    for image in images:
        if not is_file_name(image.name):
            raise InputError(f"{image}: this name does not work on every system and in every table; rename it")
        if image.stem in stems:
            raise InputError(
                f"{image}: {stems[image.stem].name} has the same name except for the suffix; rename one of them"
            )
        stems[image.stem] = image
    return images


def _find_form(source: Path) -> str:
    """Return which of the three forms of annotations the folder has."""
    forms = [name for name in (TABLE, COCO, MASKS) if (source / name).exists()]
    if len(forms) != 1:
        found = " and ".join(forms) or "none"
        raise InputError(f"{source}: one of {TABLE}, {COCO} and {MASKS}/ is needed, found {found}")
    return forms[0]


def _write_images(images: list[Path], folder: Path, crop_bottom: int) -> None:
    """Write 8-bit images at once, 16-bit ones when the brightness scales of all of them are known."""
    convert = partial(_write_image, folder, crop_bottom)
    scales, deep = Scales(), []
    for image, counts in zip(images, map_in_processes(convert, images, "converting"), strict=True):
        if counts is not None:
            deep.append((image, scales.add(counts)))
    results = scales.result()
    for depth, scale in results.items():
        number = sum(one == depth for _, one in deep)
        log.info("%d 16-bit micrographs: values of %d to %d become 0 to 255", number, scale.low, scale.high)
        if scale.saturated:
            log.warning("%d pixels of them are darker or brighter and become black or white", scale.saturated)
    work = [(image, results[depth]) for image, depth in deep]
    for _ in map_in_processes(partial(_write_scaled, folder, crop_bottom), work, "16 to 8 bits"):
        pass


def _write_image(folder: Path, crop_bottom: int, image: Path) -> NDArray[np.int64] | None:
    """Convert an 8-bit image; return the counts of the values of a 16-bit one, to be scaled with the others."""
    grey = read_grey(image)
    if crop_bottom >= len(grey):
        raise InputError(
            f"{image}: has {len(grey)} rows, so {crop_bottom} cannot be cut off; lower download.crop_bottom"
        )
    grey = grey[: len(grey) - crop_bottom]
    if grey.dtype == np.uint16:
        return count_values(grey)
    write_micrograph(folder / f"{image.stem}.png", to_8_bit(grey, None))
    return None


def _write_scaled(folder: Path, crop_bottom: int, work: tuple[Path, Scale]) -> None:
    image, scale = work
    grey = read_grey(image)
    write_micrograph(folder / f"{image.stem}.png", to_8_bit(grey, scale)[: len(grey) - crop_bottom])


def write_metadata(table: Path, target: Path, new_names: Mapping[str, str]) -> None:
    """Write the user's metadata with commas and the new names of the images; line numbers stay the same."""
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
            fields[column] = new_names.get(fields[column], fields[column])
            writer.writerow(fields)
            next_number = number + 1


def _annotation_lines(
    annotations: Path, images: list[Path], new_names: Mapping[str, str], crop_bottom: int
) -> Iterator[tuple[str, str | None]]:
    """Yield the lines of annotations.csv from annotations of any form, each with its place in the user's files.

    Lines of a table keep their numbers and need no place.
    """
    if annotations.name == TABLE:
        yield from ((line, None) for line in table_lines(annotations, new_names))
        return
    yield HEADER_LINE, None
    if annotations.name == COCO:
        sizes = {image.name: image_size(image) for image in images}
        yield from coco_lines(annotations, sizes, new_names, crop_bottom)
    else:
        yield from mask_lines(annotations, images, crop_bottom)


def table_lines(table: Path, new_names: Mapping[str, str]) -> Iterator[str]:
    """Yield every line of a table of annotations, including the header, in the published dialect.

    Line numbers stay the same, also those of unusable lines: the stage parse_csv reports them, or skips them.

    Args:
        table: the user's table, with semicolons, commas or tabs.
        new_names: the new names of the images.

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
            raise InputError(f"{table}, line {number}: a field has a semicolon; remove it")
        yield from [""] * (number - next_number)
        yield ";".join([new_names.get(fields[0], fields[0]), *fields[1:]])
        next_number = number + 1


def mask_lines(folder: Path, images: Sequence[Path], crop_bottom: int) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv below its header, each with the path of its mask.

    Drawing the polygons gives exactly the masks again. A mask without foreground declares that its micrograph
    shows no island; a micrograph without a mask is not used.

    Args:
        folder: the masks: 0 for the background, one other value for the foreground.
        images: the micrographs; the lines come in their order.
        crop_bottom: rows to cut off at the bottom of every mask, as of its micrograph.

    Raises:
        InputError: a mask cannot be read, has more than two values or another size than its micrograph, or there
            is no micrograph for it.
    """
    masks = _find_masks(folder, {image.stem for image in images})
    pairs = [(masks[image.stem], image) for image in images if image.stem in masks]
    polygonized = map_in_processes(partial(_lines_of_mask, crop_bottom), pairs, "polygonizing masks")
    for (mask, _), lines in zip(pairs, polygonized, strict=True):
        yield from ((line, mask.as_posix()) for line in lines)


def _find_masks(folder: Path, stems: set[str]) -> dict[str, Path]:
    """Return the masks in `folder` by stem; each of them has to be one of `stems`, those of the micrographs."""
    masks: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        if file.suffix.lower() not in MASK_SUFFIXES:
            raise InputError(f"{file}: a mask has to be a PNG or TIFF image; convert or remove it")
        if file.stem not in stems:
            raise InputError(f"{file}: no micrograph has this name; rename or remove the mask")
        if file.stem in masks:
            raise InputError(f"{file}: {masks[file.stem].name} is a mask of the same micrograph; remove one")
        masks[file.stem] = file
    if not masks:
        raise InputError(f"{folder}: holds no mask; put one there for each micrograph, under its name")
    return masks


def _lines_of_mask(crop_bottom: int, pair: tuple[Path, Path]) -> list[str]:
    path, image = pair
    mask = _read_mask(path)
    height, width = read_grey(image).shape
    if mask.shape != (height, width):
        raise InputError(
            f"{path}: has {mask.shape[1]} x {mask.shape[0]} pixels, its micrograph {width} x {height}; "
            "give both the same size"
        )
    outlines = polygonize(mask[: height - crop_bottom])
    name = f"{image.stem}.png"
    return [annotation_line(name, outline) for outline in outlines] or [empty_line(name)]


def _read_mask(path: Path) -> Mask:
    grey = read_grey(path)
    values = np.unique(grey)
    if np.count_nonzero(values) > 1:
        raise InputError(
            f"{path}: holds {len(values)} values; a mask has 0 for the background and one other for the foreground"
        )
    mask: Mask = grey != 0
    return mask
