"""Which micrograph an annotation file means, and whether both have the same pixels.

Tools write the names of their own world: Windows paths, addresses, names with a number or a hash in front (Label
Studio, and whoever numbered a batch), and the name before the image was converted.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from urllib.parse import unquote

from microseg.common.errors import InputError
from microseg.micrographs.decoding import SUFFIXES

Size = tuple[int, int]
"""Height and width of an image."""

PREFIX = re.compile(r"^(?:[0-9a-f]{8}-|[0-9]+_)")
"""What is put in front of a name: Label Studio's hash, or a number."""


@dataclass(frozen=True)
class Micrographs:
    """The micrographs of the user's folder.

    Attributes:
        sizes: their sizes, by file name.
        new_names: their names in the pipeline.
        crop_bottom: rows that are cut off at the bottom of each.
    """

    sizes: Mapping[str, Size]
    new_names: Mapping[str, str]
    crop_bottom: int

    def kept(self, name: str) -> Size | None:
        """Return the size of a micrograph without the rows that are cut off; None if there is none."""
        height, width = self.sizes.get(name, (0, 0))
        return (height - self.crop_bottom, width) if width else None

    def find(self, written: str, place: object) -> str:
        """Return the micrograph that `written`, a name, path or address, means; its last part if there is none.

        The name itself counts most, then one that looks alike or has another suffix, then one that lacks a number
        or hash in front, or has it in addition.

        Raises:
            InputError: several fit equally well. The message calls the file that names it `place`.
        """
        address = unquote(written.rpartition("?d=")[2]) if "?d=" in written else written
        name = address.replace("\\", "/").rpartition("/")[2]
        if name in self.sizes:
            return name
        stem = _stem(name)
        with_prefix = [f"prefix {stem}", PREFIX.sub("", stem)] if PREFIX.match(stem) else [f"prefix {stem}"]
        for keys in ([stem], with_prefix):
            fitting = [image for key in keys for image in self._by_stem.get(key, ())]
            if len(fitting) > 1:
                raise InputError(f"{place}: {name} may mean {fitting[0]} or {fitting[1]}; rename one of them")
            if fitting:
                return fitting[0]
        return name

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """The micrographs by their stems; those with a prefix also by "prefix" and their stem without it."""
        groups: dict[str, list[str]] = {}
        for image in self.sizes:
            stem = _stem(image)
            groups.setdefault(stem, []).append(image)
            if PREFIX.match(stem):
                groups.setdefault(f"prefix {PREFIX.sub('', stem)}", []).append(image)
        return groups

    def check_size(self, place: str, name: str, size: Size) -> None:
        """Check that an annotated image has the size of its micrograph, perhaps without rows that are cut off.

        Raises:
            InputError: it has not; the message begins with `place`.
        """
        (rows, width), (height, full_width) = size, self.sizes.get(name, size)
        if width == full_width and height - self.crop_bottom <= rows <= height:
            return
        remedy = "give both the same size"
        if width == full_width and rows < height:
            remedy = f"if its bottom rows are cut off, set download.crop_bottom to {height - rows} or more"
        raise InputError(f"{place} has {width} x {rows} pixels, its micrograph {full_width} x {height}; {remedy}")


def _stem(name: str) -> str:
    """Return a name without suffixes of images, in a form in which names that look alike are equal."""
    stem = unicodedata.normalize("NFKC", name).casefold()
    while (suffix := PurePosixPath(stem).suffix) in SUFFIXES:
        stem = stem.removesuffix(suffix)
    return stem
