"""Pixels of the training micrographs without decoding: uncompressed copies on disk, mapped into memory.

A crop needs a few of the pixels of its micrograph, while a PNG can only be decoded as a whole. The first process
to ask for a micrograph leaves a copy of it and of its mask in a folder that all trainings of a project share; the
system keeps in memory what of it is used, and takes that memory back where it is needed. Copies are of the size
that the network sees: a micrograph is reduced once and not for each crop. A copy is named after the content of the
two files and how they are reduced, so that none is ever out of date, and takes its place complete, however many
processes write it.
"""

import contextlib
import hashlib
import logging
import os
import uuid
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from microseg.common.files import file_digest, limit_bytes, shared_folder
from microseg.micrographs.images import image_size
from microseg.network.inputs import (
    GreyStatistics,
    MaskedMicrographs,
    downsample,
    downsampled_size,
    downsampling_method,
    grey_statistics,
)

log = logging.getLogger(__name__)

LIMIT_VARIABLE = "MICROSEG_PIXELS_GB"
DEFAULT_LIMIT_GB = 10.0

StoredMask = NDArray[np.bool_ | np.uint8]
"""(height, width): True in the foreground, or at a scale above 1 the share of it in each pixel, 0 to 255."""


class Pixels(NamedTuple):
    """A micrograph, its mask, and what takes a look at all of their pixels to know."""

    micrograph: NDArray[np.uint8]
    """(height, width), 0 to 255."""
    mask: StoredMask
    statistics: GreyStatistics
    foreground_ends: NDArray[np.int64]
    """(height,), the number of pixels with any foreground from the first row to the end of each."""


def pixel_cache_root() -> Path:
    """Return the folder of copies that all trainings of a project share."""
    return shared_folder("pixels")


def foreground_ends(mask: StoredMask) -> NDArray[np.int64]:
    """Return the number of pixels with any foreground from the first row to the end of each, (height,)."""
    return np.cumsum(np.count_nonzero(mask, axis=1), dtype=np.int64)


class PixelCache:
    """The pixels of micrographs, reduced by `scale`, by their position in the list.

    Those beyond the limit are decoded each time.

    The limit for all copies together is 10 GB or what the environment variable MICROSEG_PIXELS_GB says; 0 is for
    no copies. To keep within it, those that were unused for longest go.
    """

    def __init__(self, files: MaskedMicrographs, root: Path, scale: float = 1.0) -> None:
        self.files = files
        self.root = root
        self.scale = scale
        self._limit = limit_bytes(LIMIT_VARIABLE, DEFAULT_LIMIT_GB)
        self._places: dict[int, Path] = {}
        self._known: dict[int, tuple[GreyStatistics, NDArray[np.int64]]] = {}
        self._copied = self._within_limit()

    def __getitem__(self, index: int) -> Pixels:
        """Return the pixels of a micrograph; InputError where a file is missing or cannot be used."""
        micrograph, mask = self._mapped(index) if index in self._copied else self._read(index)
        if index not in self._known:
            self._known[index] = (grey_statistics(micrograph), foreground_ends(mask))
        return Pixels(micrograph, mask, *self._known[index])

    def _within_limit(self) -> set[int]:
        """Choose the first micrographs whose copies fit, so that a training never drives out its own."""
        chosen, total = set(), 0
        for index, name in enumerate(self.files.names):
            if total >= self._limit:
                break
            height, width = downsampled_size(image_size(self.files.images / name), self.scale)
            total += 2 * height * width
            if total <= self._limit:
                chosen.add(index)
        return chosen

    def _read(self, index: int) -> tuple[NDArray[np.uint8], StoredMask]:
        micrograph, mask = self.files.read(index)
        if self.scale == 1:
            return micrograph, mask
        return downsample(micrograph, self.scale), downsample(mask * np.uint8(255), self.scale)

    def _mapped(self, index: int) -> tuple[NDArray[np.uint8], StoredMask]:
        place = self._place(index)
        try:
            layers = np.load(place, mmap_mode="r")
        except (OSError, ValueError):  # not there yet, or cut off when the machine went down
            micrograph, mask = self._read(index)
            self._copy(place, micrograph, mask)
            return micrograph, mask
        return layers[0], layers[1].view(np.bool_) if self.scale == 1 else layers[1]

    def _place(self, index: int) -> Path:
        if index not in self._places:
            name = self.files.names[index]
            paths = (self.files.images / name, self.files.masks / name)
            if not all(path.is_file() for path in paths):
                self.files.read(index)  # says which one is missing
            content = [*map(file_digest, paths), *([] if self.scale == 1 else [downsampling_method(self.scale)])]
            digest = hashlib.sha256(" ".join(content).encode()).hexdigest()
            place = self.root / f"{digest[:32]}.npy"
            if place.is_file():
                place.touch()  # the time of its last use
            self._places[index] = place
        return self._places[index]

    def _copy(self, place: Path, micrograph: NDArray[np.uint8], mask: StoredMask) -> None:
        """Write a copy; where the disk is full or not to be written to, this process goes on without copies."""
        partial = place.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # Written, not mapped: on a full disk a mapped file ends the process instead of raising an error.
            with partial.open("wb") as file:
                shape = {"descr": "|u1", "fortran_order": False, "shape": (2, *mask.shape)}
                np.lib.format.write_array_header_1_0(file, shape)
                file.write(np.ascontiguousarray(micrograph).data)
                file.write(np.ascontiguousarray(mask).data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(place)
        except OSError as error:
            log.warning("%s: the pixels could not be copied (%s); going on without copies", place, error)
            self._copied = set()
        else:
            self._make_room(place)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()

    def _make_room(self, current: Path) -> None:
        """Remove what was unused for longest; where another process maps a file, that lives on until it ends."""
        entries = []
        for entry in os.scandir(self.root):
            try:
                status = entry.stat()
            except FileNotFoundError:  # another process was faster
                continue
            entries.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
        excess = sum(size for _, size, _ in entries) - self._limit
        for _, size, path in sorted(entries):
            if excess <= 0:
                break
            if path != current:
                path.unlink(missing_ok=True)
                excess -= size
