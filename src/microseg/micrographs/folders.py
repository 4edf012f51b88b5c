"""Folders of micrographs as people have them: sub-folders, links, system files, and names that look alike."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from microseg.common.errors import InputError
from microseg.common.files import can_name_outputs, is_utf8
from microseg.micrographs.decoding import SUFFIXES

FORMATS = "PNG, TIFF, JPEG or BMP"
"""The formats of micrographs that are read, for messages."""

SYSTEM_NAMES = frozenset(
    [
        "@eadir",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "lost+found",
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
    ]
) | {"system volume information"}
"""Folders and files that a NAS, Windows or macOS writes among one's own, in small letters."""

COMPANIONS = frozenset(
    [
        ".txt",
        ".hdr",
        ".xml",
        ".json",
        ".csv",
        ".tsv",
        ".md",
        ".pdf",
        ".dvc",
        ".doc",
        ".docx",
        ".xls",
        ".xlsx",
        ".ppt",
        ".pptx",
    ]
)
"""Suffixes of files that accompany micrographs; files of any other kind might be micrographs in another format."""


@dataclass(frozen=True)
class ImageFolder:
    """The images in a folder and its sub-folders."""

    images: dict[str, Path]
    """By name, in its order: the path relative to the folder, with slashes, such as `heat42/IMG_0001.png`."""
    ignored: list[Path]
    """Files that may be micrographs in a format that is not read."""

    @property
    def note(self) -> str | None:
        """A sentence about the ignored files, None where there are none."""
        if not self.ignored:
            return None
        kinds = Counter(path.suffix.lower() or "no suffix" for path in self.ignored)
        listed = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
        return f"Ignored files that are not {FORMATS}: {listed}"


def list_images(folder: Path) -> ImageFolder:
    """Find the images in a folder and its sub-folders, also linked ones, without hidden and system files.

    Raises:
        InputError: the folder does not exist or holds no image, a name does not work on every system, or two
            images would give results of the same name.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder with the micrographs")
    images: dict[str, Path] = {}
    ignored: list[Path] = []
    stems: dict[str, Path] = {}
    for path in _walk(folder):
        if path.suffix.lower() not in SUFFIXES:
            if path.suffix.lower() not in COMPANIONS:
                ignored.append(path)
            continue
        name = path.relative_to(folder)
        if not (all(map(can_name_outputs, name.parts)) and is_utf8(path.resolve())):
            raise InputError(f"{path}: this name does not work on every system and in every table; rename it")
        first = stems.setdefault(_key(name.with_suffix("").as_posix()), path)
        if first is not path:
            raise InputError(
                f"{first} and {path}: images of the same name, whose results would overwrite each other; "
                "rename one of them"
            )
        images[name.as_posix()] = path
    if not images:
        others = f" ({note[0].lower()}{note[1:]})" if (note := ImageFolder(images, ignored).note) else ""
        raise InputError(f"{folder}: no image in it; put {FORMATS} files there{others}")
    return ImageFolder(dict(sorted(images.items())), ignored)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, in order; a folder that several links lead to is entered once."""
    entered = {folder.resolve()}

    def enter(path: Path) -> bool:
        target = path.resolve()
        new = not _belongs_to_system(path.name) and target not in entered
        entered.add(target)
        return new

    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(place)
        folders[:] = [name for name in sorted(folders) if enter(here / name)]
        yield from (here / name for name in sorted(files) if not _belongs_to_system(name))


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be opened ({error.strerror}); make it readable, or move it away")


def _belongs_to_system(name: str) -> bool:
    return name.startswith((".", "~$")) or name.lower() in SYSTEM_NAMES


class ImageNames:
    """The names of a folder's images, as tables and annotations may write them.

    A name is found whatever the case of its letters, in composed or decomposed letters, with slashes or
    backslashes, with the micro sign or the Greek letter, and without its sub-folder where only one sub-folder has
    an image of that name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._by_key: dict[str, list[str]] = {}
        for name in sorted(self._exact):
            for key in {_key(name), _key(name.rpartition("/")[2])}:
                self._by_key.setdefault(key, []).append(name)

    def find(self, written: str) -> str | None:
        """Return the name that is meant, None if there is no such image, or if it may be several."""
        if written in self._exact:
            return written
        meant = self._by_key.get(_key(written), [])
        return meant[0] if len(meant) == 1 else None


def _key(name: str) -> str:
    """Return what is the same for names that a person, or some file system, takes for one."""
    return unicodedata.normalize("NFKC", name.replace("\\", "/")).casefold()
