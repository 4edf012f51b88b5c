"""The source "folder": one's own micrographs, annotations and perhaps metadata, in one folder or several."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microseg.annotations.polygonize import HEADER_LINE
from microseg.annotations.polygons import delimiter_below_header
from microseg.common.errors import InputError
from microseg.common.files import is_file_name
from microseg.common.parallel import map_in_processes
from microseg.common.tables import read_lines, read_table, split_line
from microseg.micrographs.conversion import Scale, Scales, count_values, read_grey, to_8_bit
from microseg.micrographs.decoding import stored_size
from microseg.micrographs.folders import ImageNames, list_images, walk_files
from microseg.micrographs.headers import read_header
from microseg.micrographs.images import pixel_digests, repeated_images, write_micrograph
from microseg.micrographs.line_map import LineMap, write_line_map
from microseg.micrographs.metadata import IMAGE_COLUMN, PIXEL_SIZE_COLUMN, SPECIMEN_COLUMN
from microseg.sources.any_form import SUFFIXES, outline_lines, read_outlines
from microseg.sources.mask_folder import mask_lines
from microseg.sources.outlines import OutlineFile
from microseg.sources.pairing import Micrographs
from microseg.sources.tracked import CONTENT

log = logging.getLogger(__name__)

IMAGES, METADATA = "images", "metadata.csv"
TABLE, JSON, ANNOTATIONS, MASKS = "annotations.csv", "annotations.json", "annotations", "masks"

Lines = Iterator[tuple[str, str]]
"""Lines of annotations.csv below its header, each with its place in the user's files."""
Rows = list[tuple[dict[str, str], str]]
"""Rows of metadata.csv by column, each with its place in the user's files."""


@dataclass(frozen=True)
class _Content:
    """What a folder holds: its images by their names in the pipeline, annotations in some form, and metadata."""

    folder: Path
    images: list[tuple[str, Path]]
    form: Path
    lines: Lines
    columns: Sequence[str]
    rows: Rows


def annotated_folders(source: Path) -> list[Path]:
    """Return the folders whose union is the dataset: `source` if it has images/, and those in it that have.

    Raises:
        InputError: there is no folder `source`.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; set download.path to the folder of your micrographs")
    inside = sorted(path.parent for path in source.glob(f"*/{IMAGES}/") if path.parent.name not in CONTENT)
    return [source, *inside] if (source / IMAGES).exists() or not inside else inside


def write_folder(
    target: Path, source: Path, crop_bottom: int, foreground: Sequence[str] | None = None, mask_suffix: str = ""
) -> None:
    """Fill the existing, empty folder `target` with images/ (8-bit grey PNG), annotations.csv and metadata.csv.

    The table line_map.csv beside them says where in the user's files their lines come from.

    Args:
        target: the raw dataset to write.
        source: a folder with images/ and annotations in one form: annotations.csv in the published dialect or with
            commas or tabs, a COCO instance file, files of LabelMe, QuPath or ImageJ, or a folder masks/. Or a
            folder with several of these.
        crop_bottom: rows to cut off at the bottom of every micrograph, the microscope's information bar. Polygons
            that reach into it then lie partly outside the micrograph; parse_csv reports them.
        foreground: the classes that are foreground, None if there is only one.
        mask_suffix: what the names of masks have behind the name of the micrograph.

    Raises:
        InputError: something is missing or cannot be read, a micrograph has no more rows than are to be cut off,
            or two folders have the same one.
    """
    taken: dict[str, Path] = {}
    contents = [
        _read_folder(folder, taken, crop_bottom, foreground, mask_suffix) for folder in annotated_folders(source)
    ]
    # Before the images: what is wrong with annotations shows within seconds, converting images may take an hour.
    _write_tables(target, source, contents)
    (target / IMAGES).mkdir()
    _write_images(
        [(path, target / IMAGES / name) for content in contents for name, path in content.images], crop_bottom
    )
    if len(contents) > 1:
        _refuse_copies(target / IMAGES, contents)


def _write_tables(target: Path, source: Path, contents: Sequence[_Content]) -> None:
    """Write annotations.csv, metadata.csv and line_map.csv."""
    one = contents[0] if len(contents) == 1 else None
    places: list[tuple[str, int | None, str]] = [
        (TABLE, None, (one.form if one else source).as_posix()),
        (METADATA, None, (one.folder / METADATA if one else source).as_posix()),
    ]
    columns = list(dict.fromkeys(column for content in contents for column in content.columns))
    rows = [row for content in contents for row in content.rows]
    with (target / METADATA).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row, _ in rows)
    places += ((METADATA, number, place) for number, (_, place) in enumerate(rows, start=2))
    with (target / TABLE).open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{HEADER_LINE}\n")
        lines = (line for content in contents for line in content.lines)
        for number, (line, place) in enumerate(lines, start=2):
            file.write(f"{line}\n")
            places.append((TABLE, number, place))
    write_line_map(target, places)


def _read_folder(
    folder: Path, taken: dict[str, Path], crop_bottom: int, foreground: Sequence[str] | None, mask_suffix: str
) -> _Content:
    found = list_images(folder / IMAGES)
    if found.note:
        log.warning("%s: %s", folder / IMAGES, found.note)
    images = found.images
    sizes = {name: stored_size(image) for name, image in images.items()}
    for name, image in images.items():
        if crop_bottom >= (rows := sizes[name][0]):
            raise InputError(
                f"{image}: has {rows} rows, so {crop_bottom} cannot be cut off; lower download.crop_bottom"
            )
    new_names = {name: _new_name(name, path, taken) for name, path in images.items()}
    micrographs = Micrographs(sizes, new_names, dict.fromkeys(sizes, crop_bottom))
    form, lines = _annotation_lines(folder, micrographs, foreground, mask_suffix)
    columns, metadata = read_rows(folder / METADATA, images, new_names)
    return _Content(
        folder, [(new_names[name], path) for name, path in images.items()], form, lines, columns, metadata
    )


def _new_name(name: str, path: Path, taken: dict[str, Path]) -> str:
    """Return a name in the pipeline, where all images are in one folder: that of its sub-folder comes first.

    Args:
        name: below images/.
        path: the image.
        taken: the images that have a name there, in small letters; this one is added.
    """
    new = f"{PurePosixPath(name).with_suffix('').as_posix().replace('/', '_')}.png"
    if not is_file_name(new):
        raise InputError(f"{path}: this name does not work on every system and in every table; rename it")
    if (first := taken.setdefault(new.casefold(), path)) is not path:
        raise InputError(f"{first} and {path}: both would be called {new}; rename one of them")
    return new


def _refuse_copies(images: Path, contents: Sequence[_Content]) -> None:
    """Refuse pictures that two folders have under different names; within a folder, split reports them."""
    origins = {name: (content.folder, path) for content in contents for name, path in content.images}
    for names in repeated_images(pixel_digests(images, list(origins))):
        (folder, path), *others = (origins[name] for name in names)
        for other_folder, other in others:
            if other_folder != folder:
                raise InputError(f"{path} and {other}: the same picture in two folders; remove one of them")


def _annotation_lines(
    source: Path, micrographs: Micrographs, foreground: Sequence[str] | None, mask_suffix: str
) -> tuple[Path, Lines]:
    """Return the file or folder of the annotations, and their lines."""
    forms = [source / name for name in (TABLE, MASKS) if (source / name).exists()]
    contents = _outline_files(source)
    forms += [path if path.parent == source else path.parent for path in list(contents)[:1]]
    if len(forms) != 1:
        found = " and ".join(form.name for form in forms) or "none"
        raise InputError(
            f"{source}: one of {TABLE}, {JSON} (COCO), {MASKS}/ and {ANNOTATIONS}/ (files of LabelMe, QuPath or "
            f"ImageJ) is needed, found {found}"
        )
    form = forms[0]
    if form.name == TABLE:
        if foreground is not None:
            raise InputError(f"{form}: a table has no classes; set download.foreground to null")
        return form, table_lines(form, micrographs.new_names)
    if form.name == MASKS:
        return form, mask_lines(form, micrographs, foreground, mask_suffix)
    return form if len(contents) > 1 else next(iter(contents)), outline_lines(contents, micrographs, foreground)


def _outline_files(source: Path) -> dict[Path, Any]:
    """Return the content of every file with outlines; other JSON beside the images belongs to the microscope."""
    files = [source / JSON] if (source / JSON).exists() else []
    if (source / ANNOTATIONS).is_dir():
        files += [file for file in walk_files(source / ANNOTATIONS) if file.suffix.lower() in SUFFIXES]
    contents = {file: read_outlines(file) for file in files}
    beside = {
        file: content
        for file in walk_files(source / IMAGES)
        if file.suffix.lower() in (".json", ".geojson") and isinstance(content := read_outlines(file), OutlineFile)
    }
    return contents | beside


def _write_images(images: Sequence[tuple[Path, Path]], crop_bottom: int) -> None:
    """Write 8-bit images at once, 16-bit ones when the brightness scales of all of them are known."""
    convert = partial(_convert, crop_bottom)
    scales, deep = Scales(), []
    found = map_in_processes(convert, [(*image, None) for image in images], "converting")
    for image, counts in zip(images, found, strict=True):
        if counts is not None:
            deep.append((image, scales.add(counts)))
    results = scales.result()
    for depth, scale in results.items():
        number = sum(one == depth for _, one in deep)
        log.info("%d 16-bit micrographs: values of %d to %d become 0 to 255", number, scale.low, scale.high)
        if scale.saturated:
            log.warning("%d pixels of them are darker or brighter and become black or white", scale.saturated)
    for _ in map_in_processes(convert, [(*image, results[depth]) for image, depth in deep], "16 to 8 bits"):
        pass


def _convert(crop_bottom: int, work: tuple[Path, Path, Scale | None]) -> NDArray[np.int64] | None:
    """Convert an image; return the counts of the values of a 16-bit one whose scale is not known yet."""
    source, target, scale = work
    grey = read_grey(source)
    grey = grey[: len(grey) - crop_bottom]
    if grey.dtype == np.uint16 and scale is None:
        return count_values(grey)
    write_micrograph(target, to_8_bit(grey, scale))
    return None


def read_rows(table: Path, images: Mapping[str, Path], new_names: Mapping[str, str]) -> tuple[list[str], Rows]:
    """Read the user's metadata, with the new names of the images and what sub-folders and headers say of them.

    Columns of the user count. Where there is no table, every image has a row.

    Raises:
        InputError: the table cannot be read, or has no column of images.
    """
    known = _known_of(images)
    if not table.exists():
        rows = [({IMAGE_COLUMN: new_names[name], **known[name]}, path.as_posix()) for name, path in images.items()]
        return list(dict.fromkeys(column for row, _ in rows for column in row)), rows
    header, lines = read_table(table)
    if IMAGE_COLUMN not in header:
        raise InputError(f"{table}, line 1: no column {IMAGE_COLUMN}; add one with the names of the images")
    names, rows = ImageNames(images), []
    for number, fields in lines:
        row = dict(zip(header, fields, strict=True))
        name = names.in_table(row[IMAGE_COLUMN]) or row[IMAGE_COLUMN]
        row[IMAGE_COLUMN] = new_names.get(name, name)
        rows.append(({**known.get(name, {}), **row}, f"{table.as_posix()}, line {number}"))
    return list(dict.fromkeys([*header, *(column for row in known.values() for column in row)])), rows


def _known_of(images: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Return what sub-folders and headers say of each image, as columns of metadata.csv."""
    headers = map_in_processes(read_header, list(images.values()), "reading headers")
    known: dict[str, dict[str, str]] = {name: {} for name in images}
    for name, header in zip(images, headers, strict=True):
        if "/" in name:
            known[name][SPECIMEN_COLUMN] = name.rpartition("/")[0]
        if header.pixel_size:
            known[name][PIXEL_SIZE_COLUMN] = f"{header.pixel_size.micrometres:.9g}"
    return known


def table_lines(table: Path, new_names: Mapping[str, str]) -> Lines:
    """Yield every line below the header of a table of annotations in the published dialect, with its place.

    Unusable lines are left to the stage parse_csv, which reports them or skips them.

    Raises:
        InputError: the table cannot be read or has another header, or a line cannot be split into fields.
    """
    lines, names = read_lines(table), ImageNames(new_names)
    delimiter = delimiter_below_header(lines, LineMap(table))
    for number, line in lines:
        place = f"{table.as_posix()}, line {number}"
        try:
            fields = [field.strip() for field in split_line(line, delimiter)]
        except ValueError as error:
            raise InputError(f"{place}: {error}; fix the line") from None
        if ";" in "".join(fields):
            raise InputError(f"{place}: a field has a semicolon; remove it")
        name = names.in_table(fields[0]) or fields[0]
        yield ";".join([new_names.get(name, name), *fields[1:]]), place
