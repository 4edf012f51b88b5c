"""Which micrograph an annotation file means, and whether both have the same pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from microseg.common.errors import InputError
from microseg.micrographs.folders import ImageNames

Size = tuple[int, int]
"""Height and width of an image."""


@dataclass(frozen=True)
class Micrographs:
    """The micrographs of the user's folder.

    Attributes:
        sizes: their sizes, by file name.
        new_names: their names in the pipeline.
        crop_bottom: rows that are cut off at the bottom of each.
        are_given: whether they are those of a command, whose options messages name, not those of a dataset.
    """

    sizes: Mapping[str, Size]
    new_names: Mapping[str, str]
    crop_bottom: Mapping[str, int]
    are_given: bool = False

    def option(self, name: str) -> str:
        """Return what the user calls a setting: the parameter of the stage download, or the command's option."""
        return f"--{name.replace('_', '-')}" if self.are_given else f"download.{name}"

    def kept(self, name: str) -> Size | None:
        """Return the size of a micrograph without the rows that are cut off; None if there is none."""
        height, width = self.sizes.get(name, (0, 0))
        return (height - self.crop_bottom[name], width) if width else None

    def find(self, written: str, place: object) -> str:
        """Return the micrograph that `written`, a name, path or address, means; its last part if there is none.

        Raises:
            InputError: several fit equally well. The message calls the file that names it `place`.
        """
        meant = self._names.meant_by(written)
        if len(meant) > 1:
            raise InputError(f"{place}: {written} may mean {meant[0]} or {meant[1]}; rename one of them")
        return meant[0] if meant else unquote(written.replace("\\", "/").rpartition("/")[2])

    @cached_property
    def _names(self) -> ImageNames:
        return ImageNames(self.sizes)

    def check_size(self, place: str, name: str, size: Size) -> None:
        """Check that an annotated image has the size of its micrograph, perhaps without rows that are cut off.

        Raises:
            InputError: it has not; the message begins with `place`.
        """
        (rows, width), (height, full_width) = size, self.sizes.get(name, size)
        if width == full_width and height - self.crop_bottom.get(name, 0) <= rows <= height:
            return
        remedy = "give both the same size"
        if width == full_width and rows < height:
            remedy = f"if its bottom rows are cut off, set {self.option('crop_bottom')} to {height - rows} or more"
        raise InputError(f"{place} has {width} x {rows} pixels, its micrograph {full_width} x {height}; {remedy}")
