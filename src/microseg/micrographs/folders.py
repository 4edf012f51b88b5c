"""Folders of micrographs as people have them: sub-folders, links, system files, and names that look alike."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn
from urllib.parse import unquote

from microseg.common.errors import InputError
from microseg.common.files import can_name_outputs, is_utf8
from microseg.micrographs.decoding import SUFFIXES

FORMATS = "PNG, TIFF, JPEG or BMP"
"""The formats of micrographs that are read, for messages."""

SYSTEM_NAME = re.compile(
    r"\..*|~\$.*|@eadir|#recycle|#snapshot|\$recycle\.bin|lost\+found|__macosx|system volume information"
    r"|(eh)?thumbs\.db|desktop\.ini",
    re.IGNORECASE,
)
"""What is hidden, or what a NAS, Windows or macOS writes among one's own files."""

COMPANION = re.compile(r"\.(txt|hdr|xml|json|csv|tsv|md|pdf|dvc|docx?|xlsx?|pptx?)", re.IGNORECASE)
"""Suffixes of files that accompany micrographs; files of any other kind might be micrographs in another format."""

PREFIX = re.compile(r"^(?:[0-9a-f]{8}-|[0-9]+_)")
"""What is put in front of a name: Label Studio's hash, or a number."""


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
    for path in walk_files(folder):
        if path.suffix.lower() not in SUFFIXES:
            if not COMPANION.fullmatch(path.suffix):
                ignored.append(path)
            continue
        name = path.relative_to(folder)
        if not (all(map(can_name_outputs, name.parts)) and is_utf8(path.resolve())):
            raise InputError(f"{path}: this name does not work on every system and in every table; rename it")
        first = stems.setdefault(_path_key(name.as_posix()), path)
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


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, in order, without those of the system; linked folders are entered once."""
    entered = {folder.resolve()}

    def enter(path: Path) -> bool:
        target = path.resolve()
        new = not SYSTEM_NAME.fullmatch(path.name) and target not in entered
        entered.add(target)
        return new

    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(place)
        folders[:] = [name for name in sorted(folders) if enter(here / name)]
        yield from (here / name for name in sorted(files) if not SYSTEM_NAME.fullmatch(name))


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be opened ({error.strerror}); make it readable, or move it away")


class ImageNames:
    """The names of a folder's images, as tables and annotations may write them.

    What counts is the name without its suffix; the case of its letters, whether these are composed, micro sign or
    Greek letter, slash or backslash, do not. Tools write names of their own world, too: paths, addresses, and a
    number or hash in front (Label Studio, and whoever numbered a batch).
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._paths = {name: _path_key(name) for name in names}
        self._by_stem: dict[str, list[str]] = {}
        self._by_core: dict[str, list[str]] = {}
        for name, path in self._paths.items():
            stem = path.rpartition("/")[2]
            self._by_stem.setdefault(stem, []).append(name)
            if PREFIX.match(stem):
                self._by_core.setdefault(PREFIX.sub("", stem), []).append(name)

    def in_table(self, written: str) -> str | None:
        """Return the image that a line of a table means, None if there is none, or if it may be several.

        A sub-folder may be left out where only one has an image of that name.
        """
        if written in self._paths:
            return written
        path = _path_key(written)
        fitting = self._fitting(path, self._by_stem.get(path.rpartition("/")[2], []))
        same = [name for name in fitting if "/" not in path or self._paths[name] == path]
        return same[0] if len(same) == 1 else None

    def meant_by(self, written: str) -> list[str]:
        """Return the images that a name, path or address fits equally well.

        Those of the same name count most, then those that lack a number or hash in front, or have it in addition.
        """
        if written in self._paths:
            return [written]
        path = _path_key(unquote(written.rpartition("?d=")[2]) if "?d=" in written else written)
        stem = path.rpartition("/")[2]
        core = self._by_stem.get(PREFIX.sub("", stem), []) if PREFIX.match(stem) else []
        return self._fitting(path, self._by_stem.get(stem) or [*self._by_core.get(stem, []), *core])

    def _fitting(self, path: str, candidates: list[str]) -> list[str]:
        """Return the candidates in the very folder that a path names, all of them where none is."""
        there = [name for name in candidates if f"/{path}".endswith(f"/{self._paths[name]}")]
        return there or candidates


def _path_key(name: str) -> str:
    """Return what is the same for names that a person, or some file system, takes for those of one image."""
    key = unicodedata.normalize("NFKC", name.replace("\\", "/").replace(" ", "_")).casefold()
    while (suffix := PurePosixPath(key).suffix) in SUFFIXES:
        key = key.removesuffix(suffix)
    return key
