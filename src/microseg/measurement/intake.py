"""All that is known of a folder of micrographs before the first one is segmented."""

from dataclasses import dataclass

import numpy as np

from microseg.common.errors import InputError
from microseg.measurement.micrograph_folder import Picture, Unreadable, examine, find_pictures
from microseg.measurement.pixel_size import PixelSize, choose
from microseg.measurement.settings import Request
from microseg.measurement.tables import IMAGE, SPECIMEN, read_fields, read_scales
from microseg.micrographs.conversion import bits_in_use


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
