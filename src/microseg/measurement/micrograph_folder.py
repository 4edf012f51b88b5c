"""Which micrographs a folder holds, and whether each of them can be used, before any is segmented."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.common.parallel import map_in_processes
from microseg.measurement.information_bar import find_bar
from microseg.measurement.picture_headers import Header, read_header
from microseg.measurement.pixel_size import PixelSize
from microseg.micrographs.conversion import SUFFIXES, Grey, count_bits, read_grey

Crop = int | Literal["auto"]


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
