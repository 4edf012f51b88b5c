"""Intake of a run: everything known about a folder of micrographs before the first one is segmented.

Every image is examined once: whether it can be used, where its information bar begins, what its header says. Two
tables may come with the folder, one of pixel sizes (--scales) and one of specimens (--fields).
"""

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.common.parallel import map_in_processes
from microseg.common.tables import read_table
from microseg.measurement.settings import Request, Settings
from microseg.micrographs.conversion import Scale, Scales, count_values, depth_of, read_grey
from microseg.micrographs.folders import ImageNames, list_images
from microseg.micrographs.headers import read_header
from microseg.micrographs.images import pixel_digest
from microseg.micrographs.information_bar import find_bar
from microseg.micrographs.pixel_size import PixelSize, choose, micrometres, parse_number
from microseg.micrographs.valid_area import valid_area

log = logging.getLogger(__name__)

IMAGE, SPECIMEN = "image", "specimen"
SCALE_COLUMNS = (IMAGE, "pixel_size", "unit")


@dataclass(frozen=True)
class InputImage:
    """A usable image of the folder."""

    name: str
    """Its path relative to the folder, with slashes, which tables and results use."""
    path: Path
    height: int
    width: int
    depth: int | None
    """Bits of the values of a 16-bit image; None for 8-bit images."""
    bar: int
    """Rows to cut off at the bottom."""
    pixel_size: PixelSize | None
    """The pixel size in its header."""
    magnification: float | None
    """That in its header."""
    sha256: str
    """Digest of the file."""
    valid_area: str | None
    """Digest of the mask of its valid area; None where it is valid everywhere."""
    warnings: tuple[str, ...] = ()
    """What the report has to say about it."""

    @property
    def stem(self) -> str:
        """The name without its suffix, which its results are named after."""
        return PurePosixPath(self.name).with_suffix("").as_posix()


@dataclass(frozen=True)
class UnreadableImage:
    """An image that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Intake:
    """The micrographs to segment, with what tables and headers say about them."""

    images: list[InputImage]
    """Ordered by name, with numbers in it by their value."""
    unreadable: list[UnreadableImage]
    """Excluded, where the user allows it."""
    ignored: str | None
    """A sentence about files of other formats in the folder."""
    pixel_sizes: dict[str, PixelSize]
    """Of every image, or empty."""
    specimens: dict[str, str]
    """The specimen of each image."""
    more_columns: dict[str, dict[str, str]]
    """Further columns of the table of specimens, for each image."""
    scales: dict[int, Scale]
    """The brightness scale of the 16-bit micrographs of each depth, the same for all of them."""

    @property
    def scaled(self) -> bool:
        """Whether pixel sizes are known."""
        return bool(self.pixel_sizes)

    def pixel_size_um(self, image: str) -> float | None:
        """Return the side of a pixel in micrometres, None where no pixel sizes are known."""
        return self.pixel_sizes[image].micrometres if self.scaled else None


def examine_folder(request: Request) -> Intake:
    """Examine every image of the folder, and read the tables.

    Raises:
        InputError: an image cannot be used and is not to be skipped, a table or a pixel size is wrong, or only
            some of the images have a pixel size.
    """
    examine = partial(_examine, settings=request.settings)
    found = list_images(request.folder)
    if found.note:
        log.warning("%s: %s", request.folder, found.note)
    scales, examined = Scales(), []
    files = sorted(found.images.items(), key=lambda file: _natural(file[0]))
    for one, counts in map_in_processes(examine, files, "examining the micrographs"):
        examined.append(one)
        if counts is not None:
            scales.add(counts)
    unreadable = [one for one in examined if isinstance(one, UnreadableImage)]
    images = [one for one in examined if isinstance(one, InputImage)]
    if unreadable and not request.skip_unreadable:
        others = f" ({len(unreadable) - 1} more cannot be used)" if len(unreadable) > 1 else ""
        raise InputError(f"{unreadable[0].reason}; or exclude it with --skip-unreadable{others}")
    if not images:
        raise InputError(f"{request.folder}: none of its {len(unreadable)} images can be used")
    if request.settings.crop_bottom == "auto":
        images = _warn_of_missing_bars(images)
    # A table may name images that are in the folder but unreadable.
    names = [one.name for one in examined]
    pixel_sizes = _pixel_sizes(request, images, names)
    if not pixel_sizes:
        request.settings.min_area.pixels(None)  # refuses an area in micrometres
    fields = read_fields(request.fields, names) if request.fields else {}
    # Without a table, each sub-folder is a specimen.
    folders = {name: name.rpartition("/")[0] or request.folder.resolve().name for name in names}
    return Intake(
        images=images,
        unreadable=unreadable,
        ignored=found.note,
        pixel_sizes=pixel_sizes,
        specimens={name: row[SPECIMEN] for name, row in fields.items()} or folders,
        more_columns={
            name: {column: value for column, value in row.items() if column not in (IMAGE, SPECIMEN)}
            for name, row in fields.items()
        },
        scales=scales.result(),
    )


def _natural(name: str) -> list[str | int]:
    """Return a key that sorts heat 2 before heat 11."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", name))]


def _examine(
    named: tuple[str, Path], settings: Settings
) -> tuple[InputImage | UnreadableImage, NDArray[np.int64] | None]:
    """Examine an image; with the counts of its values if it has 16 bits."""
    name, path = named
    try:
        grey = read_grey(path)
        header = read_header(path)
    except InputError as error:
        return UnreadableImage(name, str(error)), None
    height, width = grey.shape
    bar = settings.crop_bottom
    if bar == "auto":
        bar = find_bar(grey) if header.bar_height is None else header.bar_height
    if height - bar < 2 or width < 2:
        reason = f"{path}: {bar} of its {height} rows would be cut off; lower --crop-bottom"
        return UnreadableImage(name, reason), None
    specimen, counts, warnings = grey[: height - bar], None, [header.warning] if header.warning else []
    valid, digest = valid_area(specimen, settings.valid_area, name), None
    if valid is not None:
        digest = pixel_digest(valid.view(np.uint8))
        warnings.append(f"{1 - valid.mean():.0%} of it is canvas or masked, and left out of all figures")
    if grey.dtype == np.uint16:
        counts = count_values(specimen)
        if valid is not None:
            counts -= count_values(specimen[~valid][np.newaxis])
    depth = None if counts is None else depth_of(counts)
    stated = header.pixel_size, header.magnification, file_digest(path)
    image = InputImage(name, path, height, width, depth, bar, *stated, digest, tuple(warnings))
    return image, counts


def _warn_of_missing_bars(images: list[InputImage]) -> list[InputImage]:
    """Return the images with a warning for those that have no information bar where others have one."""
    others = sum(image.bar > 0 for image in images)
    if not others:
        return images
    warning = f"no information bar was found, but in {others} other fields: look at its lower edge"
    return [image if image.bar else replace(image, warnings=(*image.warnings, warning)) for image in images]


def _pixel_sizes(request: Request, images: list[InputImage], names: list[str]) -> dict[str, PixelSize]:
    """Return the pixel size of every image, from the option, the table or the header; empty where none has one."""
    scales = read_scales(request.scales, names) if request.scales else {}
    sizes = {}
    for image in images:
        size = choose(str(image.path), [request.pixel_size, scales.get(image.name), image.pixel_size])
        if size is not None:
            sizes[image.name] = size
    without = [image.name for image in images if image.name not in sizes]
    if sizes and without:
        raise InputError(
            f"{without[0]}: no pixel size is known, unlike that of {next(iter(sizes))} "
            f"({len(without)} of {len(images)} have none); give --pixel-size, or a line for each in --scales"
        )
    return sizes


def read_scales(path: Path, images: Collection[str]) -> dict[str, PixelSize]:
    """Read the table of pixel sizes, with the columns image, pixel_size and unit.

    Raises:
        InputError: the table cannot be used, or names an image that is not among `images`.
    """
    scales = {}
    for where, row in _read_rows(path, SCALE_COLUMNS, images).values():
        number = parse_number(row["pixel_size"], where)
        scales[row[IMAGE]] = PixelSize(micrometres(number, row["unit"], where), path.name)
    return scales


def read_fields(path: Path, images: Collection[str]) -> dict[str, dict[str, str]]:
    """Read the table of specimens, with a row for each of `images`: the columns image, specimen and any others.

    Raises:
        InputError: the table cannot be used, lacks an image, or names one that is not among `images`.
    """
    rows = _read_rows(path, (IMAGE, SPECIMEN), images)
    missing = sorted(set(images) - set(rows))
    if missing:
        raise InputError(f"{path}: no line for {_listed(missing)}; add it, or move the image out of the folder")
    return {image: row for image, (_, row) in rows.items()}


def _read_rows(
    path: Path, columns: tuple[str, ...], images: Collection[str]
) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the rows of a table by image, each with where it is for error messages: "scales.csv, line 2"."""
    header, lines = read_table(path)
    names = [name.strip().lower().replace(" ", "_") for name in header]
    for column in columns:
        if column not in names:
            raise InputError(f"{path}, line 1: no column {column}; the table needs {', '.join(columns)}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}, line 1: two columns are called {twice!r}; rename or remove one of them")
    known = ImageNames(images)
    rows: dict[str, tuple[str, dict[str, str]]] = {}
    for number, fields in lines:
        where, row = f"{path}, line {number}", dict(zip(names, fields, strict=True))
        row[IMAGE] = known.in_table(row[IMAGE]) or row[IMAGE]
        if row[IMAGE] in rows:
            raise InputError(f"{where}: {row[IMAGE]} is in an earlier line too; remove one of them")
        rows[row[IMAGE]] = where, row
    unknown = [image for image in rows if image not in images]
    if unknown:
        raise InputError(f"{path}: no image {_listed(unknown)} in the folder; correct the name or remove the line")
    return rows


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
