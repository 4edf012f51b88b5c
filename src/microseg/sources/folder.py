"""The source "folder": the user's own folder with images/, annotations and perhaps metadata.csv."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microseg.annotations.polygonize import HEADER_LINE
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
from microseg.sources.labelme import is_labelme, labelme_lines
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
    sizes = {image.name: image_size(image) for image in images}
    for image in images:
        if crop_bottom >= (rows := sizes[image.name][0]):
            raise InputError(
                f"{image}: has {rows} rows, so {crop_bottom} cannot be cut off; lower download.crop_bottom"
            )
    new_names = {image.name: f"{image.stem}.png" for image in images}
    micrographs = Micrographs(sizes, new_names, crop_bottom)
    # Before the images: what is wrong with annotations shows within seconds, converting images may take an hour.
    place, lines = _annotation_lines(source, micrographs, foreground, mask_suffix)
    if (source / METADATA).exists():
        write_metadata(source / METADATA, target / METADATA, new_names)
    places: list[tuple[str, int | None, str]] = [
        (TABLE, None, place.as_posix()),
        (METADATA, None, (source / METADATA).as_posix()),
    ]
    with (target / TABLE).open("w", encoding="utf-8", newline="\n") as file:
        for number, (line, line_place) in enumerate(lines, start=1):
            file.write(f"{line}\n")
            if line_place is not None:
                places.append((TABLE, number, line_place))
    write_line_map(target, places)
    (target / IMAGES).mkdir()
    _write_images(images, target / IMAGES, crop_bottom)


def _find_images(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; set download.path to the folder of your micrographs")
    folder = source / IMAGES
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; put your micrographs there")
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    ignored = [file for file in files if file.suffix.lower() not in (*SUFFIXES, ".json")]
    if ignored:
        log.info("%s: ignores %d files that are not PNG, TIFF, JPEG or BMP", folder, len(ignored))
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
    elif all(map(is_labelme, contents.values())):
        lines = labelme_lines(contents, micrographs, foreground)
    elif len(contents) == 1:
        (form,) = contents
        lines = coco_lines(form, contents[form], micrographs, foreground)
    else:
        odd = next(path for path, content in contents.items() if not is_labelme(content))
        raise InputError(f"{odd}: not a file of LabelMe like the others; leave one COCO file, or those of LabelMe")
    return form, chain([(HEADER_LINE, None)], lines)


def _json_contents(source: Path) -> dict[Path, Any]:
    """Return the content of every JSON file of annotations; others beside the images belong to the microscope."""
    files = [source / JSON] if (source / JSON).exists() else []
    files += sorted((source / JSON_FOLDER).glob("*.json"))
    contents = {file: read_json(file) for file in files}
    beside = {
        file: content
        for file in sorted((source / IMAGES).glob("*.json"))
        if is_labelme(content := read_json(file))
    }
    return contents | beside


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
