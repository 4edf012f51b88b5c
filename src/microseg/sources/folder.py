"""The user's own folder with images/, annotations and perhaps metadata.csv becomes a raw dataset."""

import csv
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from microseg.annotations import is_file_name
from microseg.conversion import SUFFIXES, bits_in_use, read_grey, to_8_bit
from microseg.errors import InputError
from microseg.images import write_micrograph
from microseg.metadata import IMAGE_COLUMN
from microseg.parallel import map_in_processes
from microseg.tables import delimiter_of, read_lines, read_table, split_line

log = logging.getLogger(__name__)

IMAGES, ANNOTATIONS, METADATA = "images", "annotations.csv", "metadata.csv"


def write_folder(target: Path, source: Path, crop_bottom: int) -> None:
    """Fill the existing, empty folder `target` with images/ (8-bit grey PNG), annotations.csv and metadata.csv.

    Every line of the user's table stays on its line, usable or not: whether a line can be used is for the stage
    parse_csv to say, which can also leave it out.

    Args:
        target: the raw dataset to write.
        source: the user's folder.
        crop_bottom: rows to cut off at the bottom of every micrograph, the microscope's information bar.

    Raises:
        InputError: there is no such folder, something in it is missing or cannot be read, or a micrograph is not
            higher than what is to be cut off.
    """
    pictures = _find_pictures(source)
    names = {picture.name: f"{picture.stem}.png" for picture in pictures}
    _write_annotations(source / ANNOTATIONS, target / ANNOTATIONS, names)
    if (source / METADATA).exists():
        _write_metadata(source / METADATA, target / METADATA, names)
    (target / IMAGES).mkdir()
    _write_images(pictures, target / IMAGES, crop_bottom)


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


def _write_annotations(table: Path, target: Path, names: Mapping[str, str]) -> None:
    """Write the user's table in the published dialect, line by line, with the new names of the images."""
    if not table.exists():
        raise InputError(f"{table}: no such file; put the table of polygons there")
    delimiter, written = "", 1
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for number, line in read_lines(table):
            delimiter = delimiter or delimiter_of(line)
            try:
                fields = [field.strip() for field in split_line(line, delimiter)]
            except ValueError as error:
                raise InputError(f"{table}, line {number}: {error}; mend the line") from None
            if ";" in "".join(fields):
                raise InputError(f"{table}, line {number}: a field holds a semicolon; take it out")
            fields[0] = names.get(fields[0], fields[0])
            file.write("\n" * (number - written) + ";".join(fields) + "\n")
            written = number + 1


def _write_metadata(table: Path, target: Path, names: Mapping[str, str]) -> None:
    """Write the user's table of metadata with commas and the new names of the images."""
    header, rows = read_table(table)
    if IMAGE_COLUMN not in header:
        raise InputError(f"{table}, line 1: no column {IMAGE_COLUMN}; add one with the names of the images")
    column = header.index(IMAGE_COLUMN)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for _, fields in rows:
            fields[column] = names.get(fields[column], fields[column])
            writer.writerow(fields)


def _write_images(pictures: list[Path], folder: Path, crop_bottom: int) -> None:
    inspect = partial(_write_image, folder, crop_bottom)
    deep = [picture for picture in map_in_processes(inspect, pictures, "converting") if picture is not None]
    if deep:
        bits = max(bits for _, bits in deep)
        log.info("%d micrographs have 16-bit grey values: the 8 highest of %d bits are kept", len(deep), bits)
        scale = partial(_write_scaled, folder, crop_bottom, bits)
        for _ in map_in_processes(scale, [picture for picture, _ in deep], "16 to 8 bits"):
            pass


def _write_image(folder: Path, crop_bottom: int, picture: Path) -> tuple[Path, int] | None:
    """Convert an 8-bit picture; return a 16-bit one with the bits it uses, to be scaled when all are known."""
    grey = read_grey(picture)
    if crop_bottom >= len(grey):
        raise InputError(
            f"{picture}: has {len(grey)} rows, so {crop_bottom} cannot be cut off; lower download.crop_bottom"
        )
    if grey.dtype != "uint8":
        return picture, bits_in_use(grey[: len(grey) - crop_bottom])
    write_micrograph(folder / f"{picture.stem}.png", to_8_bit(grey, 8)[: len(grey) - crop_bottom])
    return None


def _write_scaled(folder: Path, crop_bottom: int, bits: int, picture: Path) -> None:
    grey = read_grey(picture)
    write_micrograph(folder / f"{picture.stem}.png", to_8_bit(grey, bits)[: len(grey) - crop_bottom])
