"""All that is known of a folder of micrographs before the first one is segmented.

Every picture is examined once: whether it can be used, where its information bar begins, what its header says. Two
tables may come with the folder: pixel sizes, and specimens.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.common.parallel import map_in_processes
from microseg.common.tables import read_table
from microseg.measurement.settings import Crop, Request
from microseg.micrographs.conversion import SUFFIXES, Grey, bits_in_use, count_bits, read_grey
from microseg.micrographs.headers import Header, read_header
from microseg.micrographs.pixel_size import PixelSize, choose, micrometres, parse_number


@dataclass(frozen=True)
class Picture:
    """A picture of the folder, examined."""

    name: str
    """The name of its file, by which tables and results call it."""
    path: Path
    height: int
    width: int
    bits: tuple[int, ...] | None
    """How many of its pixels need 0 to 16 bits; None for 8-bit pictures."""
    bar: int
    """Rows to cut off at the bottom."""
    pixel_size: PixelSize | None
    """What its header says."""
    sha256: str
    """Digest of the file."""

    @property
    def stem(self) -> str:
        """The name without its suffix, which results are named after."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Unreadable:
    """A picture that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Intake:
    """The micrographs to segment, and what tables and headers say of them."""

    pictures: list[Picture]
    """In the order of their names."""
    unreadable: list[Unreadable]
    """Left out, where the user allows that."""
    pixel_sizes: dict[str, PixelSize]
    """Of every micrograph, or of none."""
    specimens: dict[str, str]
    more_columns: dict[str, dict[str, str]]
    """What the table of fields says beside the specimen."""
    bits: int
    """How many bits the 16-bit micrographs use, the same for all, so that they keep one scale of brightness."""

    @property
    def scaled(self) -> bool:
        """Whether pixel sizes are known."""
        return bool(self.pixel_sizes)

    def pixel_size_um(self, image: str) -> float | None:
        """Return the side of a pixel in micrometres, where it is known."""
        return self.pixel_sizes[image].micrometres if self.scaled else None


def take_in(request: Request) -> Intake:
    """Examine every micrograph of the folder, and read the tables.

    Raises:
        InputError: a picture cannot be used and is not to be skipped, a table or a pixel size is wrong, or some
            micrographs have a pixel size and some have none.
    """
    examined = list(examine(find_pictures(request.folder), request.settings.crop_bottom))
    unreadable = [one for one in examined if isinstance(one, Unreadable)]
    pictures = [one for one in examined if isinstance(one, Picture)]
    if unreadable and not request.skip_unreadable:
        others = f" ({len(unreadable) - 1} more cannot be used)" if len(unreadable) > 1 else ""
        raise InputError(f"{unreadable[0].reason}; or leave it out with --skip-unreadable{others}")
    if not pictures:
        raise InputError(f"{request.folder}: none of its {len(unreadable)} pictures can be used")
    counts = [np.array(one.bits) for one in pictures if one.bits is not None]
    # A table may speak of pictures that are there but cannot be read.
    names = [one.name for one in examined]
    sizes = _pixel_sizes(request, pictures, names)
    if not sizes:
        request.settings.min_area.pixels(None)  # refuses an area in micrometres
    fields = read_fields(request.fields, names) if request.fields else {}
    return Intake(
        pictures=pictures,
        unreadable=unreadable,
        pixel_sizes=sizes,
        specimens={name: fields[name][SPECIMEN] if fields else request.folder.resolve().name for name in names},
        more_columns={
            name: {column: value for column, value in row.items() if column not in (IMAGE, SPECIMEN)}
            for name, row in fields.items()
        },
        bits=bits_in_use(counts)[0] if counts else 8,
    )


def _pixel_sizes(request: Request, pictures: list[Picture], names: list[str]) -> dict[str, PixelSize]:
    scales = read_scales(request.scales, names) if request.scales else {}
    sizes = {}
    for picture in pictures:
        sources = [request.pixel_size, scales.get(picture.name), picture.pixel_size]
        size = choose(str(picture.path), sources)
        if size is not None:
            sizes[picture.name] = size
    without = [picture.name for picture in pictures if picture.name not in sizes]
    if sizes and without:
        raise InputError(
            f"{without[0]}: no pixel size is known, but of {next(iter(sizes))} it is "
            f"({len(without)} of {len(pictures)} have none); give --pixel-size, or a line for each in --scales"
        )
    return sizes


IMAGE, SPECIMEN = "image", "specimen"
SCALE_COLUMNS = (IMAGE, "pixel_size", "unit")


def read_scales(path: Path, images: Collection[str]) -> dict[str, PixelSize]:
    """Read the table of pixel sizes: image, pixel_size, unit.

    Raises:
        InputError: the table cannot be used, or names a picture that is not among `images`.
    """
    scales = {}
    for where, row in _rows(path, SCALE_COLUMNS, images).values():
        number = parse_number(row["pixel_size"], where)
        scales[row[IMAGE]] = PixelSize(micrometres(number, row["unit"], where), path.name)
    return scales


def read_fields(path: Path, images: Collection[str]) -> dict[str, dict[str, str]]:
    """Read the table of fields: image, specimen, and any columns more. Every one of `images` has to stand in it.

    Raises:
        InputError: the table cannot be used, leaves a picture out, or names one that is not among `images`.
    """
    rows = _rows(path, (IMAGE, SPECIMEN), images)
    missing = sorted(set(images) - set(rows))
    if missing:
        raise InputError(f"{path}: no line for {_some(missing)}; add it, or move the picture out of the folder")
    return {image: row for image, (_, row) in rows.items()}


def _rows(path: Path, columns: tuple[str, ...], images: Collection[str]) -> dict[str, tuple[str, dict[str, str]]]:
    header, lines = read_table(path)
    names = [name.strip().lower().replace(" ", "_") for name in header]
    for column in columns:
        if column not in names:
            raise InputError(f"{path}, line 1: no column {column}; the table needs {', '.join(columns)}")
    rows: dict[str, tuple[str, dict[str, str]]] = {}
    for number, fields in lines:
        where, row = f"{path}, line {number}", dict(zip(names, fields, strict=True))
        if row[IMAGE] in rows:
            raise InputError(f"{where}: {row[IMAGE]} stands in an earlier line too; remove one")
        rows[row[IMAGE]] = where, row
    strangers = [image for image in rows if image not in images]
    if strangers:
        raise InputError(f"{path}: there is no picture {_some(strangers)}; correct the name or remove the line")
    return rows


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def find_pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder and its sub-folders, ordered by name; hidden files and folders are left out.

    Raises:
        InputError: there is no such folder, no picture in it, or two whose results would have the same name.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder with the micrographs")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        # Names that differ in case alone are one name on some systems.
        twin = found.setdefault(path.stem.casefold(), path)
        if twin is not path:
            raise InputError(
                f"{twin} and {path}: two pictures of one name, so that their results could not be told apart; "
                "rename one of them"
            )
    if not found:
        raise InputError(f"{folder}: no picture in it; put PNG, TIFF or JPEG files there")
    return sorted(found.values(), key=lambda path: path.name)


def examine(paths: list[Path], crop: Crop) -> Iterable[Picture | Unreadable]:
    """Look at every picture and yield what can be known of it beforehand, in order."""
    return map_in_processes(partial(_examine, crop=crop), paths, "looking at the pictures")


def _bar(grey: Grey, header: Header) -> int:
    return find_bar(grey) if header.bar_height is None else header.bar_height


def _examine(path: Path, crop: Crop) -> Picture | Unreadable:
    try:
        grey = read_grey(path)
        header = read_header(path)
    except InputError as error:
        return Unreadable(path.name, str(error))
    height, width = grey.shape
    bar = _bar(grey, header) if crop == "auto" else crop
    if height - bar < 2 or width < 2:
        return Unreadable(path.name, f"{path}: of its {height} rows {bar} are cut off; lower --crop-bottom")
    specimen = grey[: height - bar]
    bits = tuple(count_bits(specimen).tolist()) if specimen.dtype == np.uint16 else None
    return Picture(path.name, path, height, width, bits, bar, header.pixel_size, file_digest(path))


# A row of a bar is for the most part of one single grey value; noise spreads those of a specimen.
UNIFORM_SHARE = 0.5
SMALLEST_SHARE, LARGEST_SHARE = 0.02, 0.3
"""How much of a micrograph's height a bar takes, at least and at most."""


def find_bar(grey: Grey) -> int:
    """Return the height of the information bar at the bottom of a micrograph in pixels, 0 where there is none.

    A bar is a band of rows of which each is at least half of one grey value, with something written on it, and not
    a third of the micrograph high. Of the band as a whole one grey value is the background.

    Args:
        grey: (height, width) of 8- or 16-bit grey values.
    """
    height, width = grey.shape
    limit = int(LARGEST_SHARE * height)
    shares = np.array([np.bincount(row).max() / width for row in grey[height - limit - 1 :][::-1]])
    bar = int(np.argmax(shares < UNIFORM_SHARE)) if (shares < UNIFORM_SHARE).any() else 0
    if bar < SMALLEST_SHARE * height:
        return 0
    return bar if _has_text(grey[height - bar :]) else 0


def _has_text(band: NDArray[np.integer]) -> bool:
    """Whether some rows of a band are written on, and its background is of one grey value."""
    background = np.bincount(band.ravel()).argmax()
    written = (band != background).mean(axis=1)
    return bool((written > 0).any() and (written < UNIFORM_SHARE).mean() > UNIFORM_SHARE)
