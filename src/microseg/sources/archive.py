"""Unpacking the wanted micrographs from a zip archive that may be damaged or hostile.

No name from the archive is ever used as a path: a wanted micrograph is read into memory, decoded, and written
under the name that was asked for.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image

from microseg.common.errors import InputError
from microseg.common.progress import progress
from microseg.micrographs.conversion import rgb_to_grey
from microseg.micrographs.images import open_image, write_micrograph

# Against archive bombs. Micrographs are compressed already, so zip gains next to nothing.
LARGEST_MICROGRAPH = 64 * 1024**2
LARGEST_SUM = 16 * 1024**3
LARGEST_RATIO = 100
LARGEST_PIXELS = 64 * 1024**2

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
SUPPORTED_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, SyntaxError, ValueError)
"""What zipfile and Pillow raise."""


def unpack_micrographs(archive: Path, names: Collection[str], folder: Path) -> None:
    """Write the micrographs called `names` (IMG_#####.png) from a zip archive into `folder` as 8-bit grey PNG.

    Grey micrographs keep their bytes. Their folder in the archive does not matter; all other entries are ignored.

    Raises:
        InputError: the archive is damaged; an entry leads outside its folder, is a link, or unpacks to far more
            than it holds; a micrograph is missing, occurs twice, or cannot be decoded.
    """
    with _naming_damage(archive, "unpacked"):
        opened = zipfile.ZipFile(archive)
    with opened:
        entries = _wanted_entries(archive, opened.infolist(), frozenset(names))
        for name, entry in progress(sorted(entries.items()), "unpacking"):
            where = f"{archive}: {entry.filename}"
            with _naming_damage(where, "unpacked"):
                content = opened.read(entry)
            image = _decoded(content, where)
            if image.mode == "L":
                (folder / name).write_bytes(content)
            else:
                write_micrograph(folder / name, rgb_to_grey(np.asarray(image.convert("RGB"))))


@contextmanager
def _naming_damage(where: object, what: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise InputError(f"{where}: cannot be {what} ({error}); download the archive again") from error


def _wanted_entries(
    archive: Path, entries: Collection[zipfile.ZipInfo], names: Collection[str]
) -> Mapping[str, zipfile.ZipInfo]:
    wanted: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        problem = _hostile_trait(entry)
        if problem is not None:
            raise InputError(f"{archive}: entry {entry.filename!r} {problem}; get the archive from its publisher")
        name = PurePosixPath(entry.filename).name
        if name not in names or entry.is_dir():
            continue
        if name in wanted:
            raise InputError(
                f"{archive}: holds {name} twice, as {wanted[name].filename} and as {entry.filename}; remove one"
            )
        wanted[name] = entry
    missing = sorted(set(names) - set(wanted))
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise InputError(
            f"{archive}: lacks {', '.join(missing[:10])}{more}, which the table of polygons names; "
            "get the archive that belongs to the table"
        )
    _check_sizes(archive, wanted.values())
    return wanted


def _hostile_trait(entry: zipfile.ZipInfo) -> str | None:
    """Return what makes an entry one that no honest archive has; None for the others."""
    posix, windows = PurePosixPath(entry.filename), PureWindowsPath(entry.filename)
    if posix.is_absolute() or windows.anchor:
        return "has an absolute name"
    if ".." in windows.parts:
        return "leads outside the archive's folder"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    return None


def _check_sizes(archive: Path, entries: Collection[zipfile.ZipInfo]) -> None:
    for entry in entries:
        if entry.compress_type not in SUPPORTED_METHODS:
            raise InputError(
                f"{archive}: {entry.filename}: compressed by method {entry.compress_type}; repack it with deflate"
            )
        ratio = entry.file_size / max(entry.compress_size, 1)
        if entry.file_size > LARGEST_MICROGRAPH or ratio > LARGEST_RATIO:
            raise InputError(
                f"{archive}: {entry.filename}: would unpack from {entry.compress_size:,} to {entry.file_size:,} "
                "bytes, too much for a micrograph; get the archive from its publisher"
            )
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_SUM:
        raise InputError(
            f"{archive}: would unpack to {total:,} bytes, more than the {LARGEST_SUM:,} allowed; "
            "get the archive from its publisher"
        )


def _decoded(content: bytes, where: str) -> Image.Image:
    with (
        _naming_damage(where, "decoded as a PNG image"),
        open_image(io.BytesIO(content), where, ["PNG"], LARGEST_PIXELS) as image,
    ):
        image.load()
    if image.mode not in EIGHT_BIT_MODES:
        raise InputError(f"{where}: expected 8 bits per channel, found mode {image.mode}; convert it first")
    return image
