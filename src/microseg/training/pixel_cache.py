"""The pixel cache: uncompressed copies of the training micrographs on disk, which are memory-mapped.

A crop needs a few pixels of its micrograph, but a PNG can only be decoded as a whole. The first process that reads
a micrograph writes a copy of it and of its mask, downsampled, into a folder that all trainings of a project share.
A copy is named after the content of both files and the downsampling, so it is never out of date. It ends with a
digest of its own content, which every process checks once. It is written beside its final path and renamed, so any
number of processes may write it.
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

from microseg.common.files import append_digest, is_intact, limit_bytes, shared_folder
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
"""(height, width): True in the foreground or, if downsampled, the fraction of it in each pixel, 0 to 255."""


class Pixels(NamedTuple):
    """A micrograph, its mask, and statistics of all their pixels."""

    micrograph: NDArray[np.uint8]
    """(height, width), 0 to 255."""
    mask: StoredMask
    statistics: GreyStatistics
    foreground_ends: NDArray[np.int64]
    """(height,), the number of pixels with any foreground from the first row to the end of each row."""


def pixel_cache_root() -> Path:
    """Return the folder of the pixel cache of a project."""
    return shared_folder("pixels")


def foreground_ends(mask: StoredMask) -> NDArray[np.int64]:
    """Return the number of pixels with any foreground from the first row to the end of each row, (height,)."""
    return np.cumsum(np.count_nonzero(mask, axis=1), dtype=np.int64)


class PixelCache:
    """The pixels of micrographs, downsampled by `downsample`, by their index in the list.

    All copies together take at most 10 GB or the value of the environment variable MICROSEG_PIXELS_GB. Least
    recently used copies are evicted. Micrographs beyond the limit are decoded each time.
    """

    def __init__(self, files: MaskedMicrographs, root: Path, downsample: float = 1.0) -> None:
        self.files = files
        self.root = root
        self.downsample = downsample
        self._limit = limit_bytes(LIMIT_VARIABLE, DEFAULT_LIMIT_GB)
        self._statistics: dict[int, tuple[GreyStatistics, NDArray[np.int64]]] = {}
        self._cached = self._within_limit()

    def __getitem__(self, index: int) -> Pixels:
        """Return the pixels of a micrograph; InputError if a file is missing or cannot be used."""
        micrograph, mask = self._load(index) if index in self._cached else self._decode(index)
        if index not in self._statistics:
            self._statistics[index] = (grey_statistics(micrograph), foreground_ends(mask))
        return Pixels(micrograph, mask, *self._statistics[index])

    def _within_limit(self) -> set[int]:
        """Return the first micrographs whose copies fit, so that a training never evicts its own copies."""
        chosen, total = set(), 0
        for index, name in enumerate(self.files.names):
            if total >= self._limit:
                break
            height, width = downsampled_size(image_size(self.files.images / name), self.downsample)
            total += 2 * height * width
            if total <= self._limit:
                chosen.add(index)
        return chosen

    def _decode(self, index: int) -> tuple[NDArray[np.uint8], StoredMask]:
        micrograph, mask = self.files.read(index)
        if self.downsample == 1:
            return micrograph, mask
        return downsample(micrograph, self.downsample), downsample(mask * np.uint8(255), self.downsample)

    def _load(self, index: int) -> tuple[NDArray[np.uint8], StoredMask]:
        path = self._path(index)
        if index not in self._statistics:
            with contextlib.suppress(OSError):  # there is no copy yet, or it is of another user
                os.utime(path)  # the time of its last use
        with contextlib.suppress(OSError, ValueError):  # not written yet, not readable, or changed since
            if index in self._statistics or is_intact(path):
                micrograph, mask = np.load(path, mmap_mode="r")
                return micrograph, mask.view(np.bool_) if self.downsample == 1 else mask
        decoded = self._decode(index)
        self._write(path, *decoded)
        return decoded

    def _path(self, index: int) -> Path:
        method = [] if self.downsample == 1 else [downsampling_method(self.downsample)]
        digest = hashlib.sha256(" ".join([*self.files.digests[index], *method]).encode()).hexdigest()
        return self.root / f"{digest[:32]}.npy"

    def _write(self, path: Path, micrograph: NDArray[np.uint8], mask: StoredMask) -> None:
        """Write a copy; if the disk is full or read-only, disable the cache in this process."""
        partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # Not memory-mapped for writing: on a full disk that kills the process instead of raising an error.
            with partial.open("w+b") as file:
                shape = {"descr": "|u1", "fortran_order": False, "shape": (2, *mask.shape)}
                np.lib.format.write_array_header_1_0(file, shape)
                file.write(np.ascontiguousarray(micrograph).data)
                file.write(np.ascontiguousarray(mask).data)
                append_digest(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            log.warning("%s cannot be written (%s); pixel cache disabled", path, error)
            self._cached = set()
        else:
            self._evict(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()

    def _evict(self, current: Path) -> None:
        """Remove least recently used copies beyond the limit; processes that have mapped one can still read it."""
        entries = []
        for entry in os.scandir(self.root):
            try:
                status = entry.stat()
            except FileNotFoundError:  # removed by another process
                continue
            entries.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
        excess = sum(size for _, size, _ in entries) - self._limit
        for _, size, path in sorted(entries):
            if excess <= 0:
                break
            if path != current:
                with contextlib.suppress(PermissionError):  # of another user
                    path.unlink(missing_ok=True)
                    excess -= size
