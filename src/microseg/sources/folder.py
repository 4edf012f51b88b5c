"""The source "folder": the user's own folder with images/, annotations and perhaps metadata.csv."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microseg.annotations.polygonize import HEADER_LINE
from microseg.common.errors import InputError
from microseg.common.files import is_file_name
from microseg.common.parallel import map_in_processes
from microseg.common.tables import delimiter_of, read_lines, read_table, split_line
from microseg.micrographs.conversion import Scale, Scales, count_values, read_grey, to_8_bit
from microseg.micrographs.decoding import stored_size
from microseg.micrographs.folders import ImageNames, list_images, walk_files
from microseg.micrographs.headers import read_header
from microseg.micrographs.images import write_micrograph
from microseg.micrographs.line_map import write_line_map
from microseg.micrographs.metadata import IMAGE_COLUMN, PIXEL_SIZE_COLUMN, SPECIMEN_COLUMN
from microseg.sources.any_form import json_lines
from microseg.sources.labelme import is_labelme
from microseg.sources.mask_folder import mask_lines
from microseg.sources.outlines import read_json
from microseg.sources.pairing import Micrographs

log = logging.getLogger(__name__)

IMAGES, METADATA = "images", "metadata.csv"
TABLE, JSON, JSON_FOLDER, MASKS = "annotations.csv", "annotations.json", "annotations", "masks"


def write_folder(
    target: Path,
    source: Path,
    crop_bottom: int,
    foreground: Sequence[str] | None = None,
    mask_suffix: str = "",
) -> None:
    """Fill the existing, empty folder `target` with images/ (8-bit grey PNG), annotations.csv and metadata.csv.

    The table line_map.csv beside them says where in the user's folder their lines come from.

    Args:
        target: the raw dataset to write.
        source: the user's folder, with annotations in one of four forms: annotations.csv in the published dialect
            or with commas or tabs, a COCO instance file, files of LabelMe, or a folder masks/.
        crop_bottom: rows to cut off at the bottom of every micrograph, the microscope's information bar. Polygons
            that reach into it then lie partly outside the micrograph; parse_csv reports them.
        foreground: the classes that are foreground, None if there is only one.
        mask_suffix: what the names of masks have behind the name of the micrograph.

    Raises:
        InputError: there is no such folder, something in it is missing or cannot be read, or a micrograph has no
            more rows than are to be cut off.
    """
    images = _find_images(source)
    sizes = {name: stored_size(image) for name, image in images.items()}
    for name, image in images.items():
        if crop_bottom >= (rows := sizes[name][0]):
            raise InputError(
                f"{image}: has {rows} rows, so {crop_bottom} cannot be cut off; lower download.crop_bottom"
            )
    new_names = _new_names(images)
    micrographs = Micrographs(sizes, new_names, dict.fromkeys(sizes, crop_bottom))
    # Before the images: what is wrong with annotations shows within seconds, converting images may take an hour.
    place, lines = _annotation_lines(source, micrographs, foreground, mask_suffix)
    places: list[tuple[str, int | None, str]] = [(TABLE, None, place.as_posix())]
    if (source / METADATA).exists():
        places.append((METADATA, None, (source / METADATA).as_posix()))
    write_metadata(source / METADATA, target / METADATA, new_names, _columns_of(images))
    with (target / TABLE).open("w", encoding="utf-8", newline="\n") as file:
        for number, (line, line_place) in enumerate(lines, start=1):
            file.write(f"{line}\n")
            if line_place is not None:
                places.append((TABLE, number, line_place))
    write_line_map(target, places)
    (target / IMAGES).mkdir()
    targets = [(image, target / IMAGES / new_names[name]) for name, image in images.items()]
    _write_images(targets, crop_bottom)


def _find_images(source: Path) -> dict[str, Path]:
    """Return the micrographs of the user's folder by name: their paths below images/."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; set download.path to the folder of your micrographs")
    found = list_images(source / IMAGES)
    if found.note:
        log.warning("%s: %s", source / IMAGES, found.note)
    return found.images


def _new_names(images: Mapping[str, Path]) -> dict[str, str]:
    """Return the names in the pipeline, where all images are in one folder: those of sub-folders come first."""
    new_names: dict[str, str] = {}
    first: dict[str, Path] = {}
    for name, path in images.items():
        new = f"{PurePosixPath(name).with_suffix('').as_posix().replace('/', '_')}.png"
        if not is_file_name(new):
            raise InputError(f"{path}: this name does not work on every system and in every table; rename it")
        if first.setdefault(new.casefold(), path) is not path:
            raise InputError(f"{first[new.casefold()]} and {path}: both would be called {new}; rename one of them")
        new_names[name] = new
    return new_names


def _annotation_lines(
    source: Path, micrographs: Micrographs, foreground: Sequence[str] | None, mask_suffix: str
) -> tuple[Path, Iterator[tuple[str, str | None]]]:
    """Return the file or folder of the annotations, and the lines of annotations.csv with their places in it.

    Lines of a table keep their numbers and need no place.
    """
    forms = [source / name for name in (TABLE, MASKS) if (source / name).exists()]
    contents = _json_contents(source)
    forms += [path if path.parent == source else path.parent for path in list(contents)[:1]]
    if len(forms) != 1:
        found = " and ".join(form.name for form in forms) or "none"
        raise InputError(
            f"{source}: one of {TABLE}, {JSON} (COCO), {MASKS}/ and JSON files of LabelMe (in {IMAGES}/ or "
            f"{JSON_FOLDER}/) is needed, found {found}"
        )
    form = forms[0]
    if form.name == TABLE:
        if foreground is not None:
            raise InputError(f"{form}: a table has no classes; set download.foreground to null")
        return form, ((line, None) for line in table_lines(form, micrographs.new_names))
    lines: Iterator[tuple[str, str | None]]
    if form.name == MASKS:
        lines = mask_lines(form, micrographs, foreground, mask_suffix)
    else:
        form = form if len(contents) > 1 else next(iter(contents))
        lines = json_lines(contents, micrographs, foreground)
    return form, chain([(HEADER_LINE, None)], lines)


def _json_contents(source: Path) -> dict[Path, Any]:
    """Return the content of every JSON file of annotations; others beside the images belong to the microscope."""
    files = [source / JSON] if (source / JSON).exists() else []
    if (source / JSON_FOLDER).is_dir():
        files += [file for file in walk_files(source / JSON_FOLDER) if file.suffix.lower() == ".json"]
    contents = {file: read_json(file) for file in files}
    beside = {
        file: content
        for file in walk_files(source / IMAGES)
        if file.suffix.lower() == ".json" and is_labelme(content := read_json(file))
    }
    return contents | beside


def _write_images(images: Sequence[tuple[Path, Path]], crop_bottom: int) -> None:
    """Write 8-bit images at once, 16-bit ones when the brightness scales of all of them are known."""
    convert = partial(_write_image, crop_bottom)
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
    for _ in map_in_processes(partial(_write_scaled, crop_bottom), work, "16 to 8 bits"):
        pass


def _write_image(crop_bottom: int, image: tuple[Path, Path]) -> NDArray[np.int64] | None:
    """Convert an 8-bit image; return the counts of the values of a 16-bit one, to be scaled with the others."""
    source, target = image
    grey = read_grey(source)
    grey = grey[: len(grey) - crop_bottom]
    if grey.dtype == np.uint16:
        return count_values(grey)
    write_micrograph(target, to_8_bit(grey, None))
    return None


def _write_scaled(crop_bottom: int, work: tuple[tuple[Path, Path], Scale]) -> None:
    (source, target), scale = work
    grey = read_grey(source)
    write_micrograph(target, to_8_bit(grey, scale)[: len(grey) - crop_bottom])


def _columns_of(images: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Return what sub-folders and headers say of each image, as columns of metadata.csv."""
    headers = map_in_processes(read_header, list(images.values()), "reading headers")
    sizes = [header.pixel_size for header in headers]
    columns = {}
    if any("/" in name for name in images):
        columns[SPECIMEN_COLUMN] = {name: name.rpartition("/")[0] for name in images}
    if any(sizes):
        columns[PIXEL_SIZE_COLUMN] = {
            name: f"{size.micrometres:.9g}" if size else "" for name, size in zip(images, sizes, strict=True)
        }
    return columns


def write_metadata(
    table: Path, target: Path, new_names: Mapping[str, str], columns: Mapping[str, Mapping[str, str]]
) -> None:
    """Write the user's metadata with commas and the new names of the images; line numbers stay the same.

    Args:
        table: the user's table, which may be absent.
        target: the table to write.
        new_names: the new names of the images.
        columns: further columns, by their names, and their values by image; those of the user stay as they are.

    Raises:
        InputError: the table cannot be read, or has no column of images.
    """
    header, rows = [IMAGE_COLUMN], [(number, [name]) for number, name in enumerate(new_names, start=2)]
    if table.exists():
        header, rows = read_table(table)
    if IMAGE_COLUMN not in header:
        raise InputError(f"{table}, line 1: no column {IMAGE_COLUMN}; add one with the names of the images")
    place, names = header.index(IMAGE_COLUMN), ImageNames(new_names)
    added = [column for column in columns if column not in header]
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, *added])
        next_number = 2
        for number, fields in rows:
            file.write("\n" * (number - next_number))
            name = names.in_table(fields[place]) or fields[place]
            fields[place] = new_names.get(name, name)
            writer.writerow([*fields, *(columns[column].get(name, "") for column in added)])
            next_number = number + 1


def table_lines(table: Path, new_names: Mapping[str, str]) -> Iterator[str]:
    """Yield every line of a table of annotations, including the header, in the published dialect.

    Line numbers stay the same, also those of unusable lines: the stage parse_csv reports them, or skips them.

    Args:
        table: the user's table, with semicolons, commas or tabs.
        new_names: the new names of the images.

    Raises:
        InputError: the table cannot be read, or a line cannot be split into fields.
    """
    delimiter, next_number, names = "", 1, ImageNames(new_names)
    for number, line in read_lines(table):
        delimiter = delimiter or delimiter_of(line)
        try:
            fields = [field.strip() for field in split_line(line, delimiter)]
        except ValueError as error:
            raise InputError(f"{table}, line {number}: {error}; fix the line") from None
        if ";" in "".join(fields):
            raise InputError(f"{table}, line {number}: a field has a semicolon; remove it")
        yield from [""] * (number - next_number)
        name = names.in_table(fields[0]) or fields[0]
        yield ";".join([new_names.get(name, name), *fields[1:]])
        next_number = number + 1
