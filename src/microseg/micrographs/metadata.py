"""The table of what is known about each micrograph: one line per image, any columns beside `image_url`."""

import logging
import statistics
from collections.abc import Sequence
from pathlib import Path

from microseg.common.errors import InputError
from microseg.common.tables import read_table
from microseg.micrographs.line_map import read_line_map
from microseg.micrographs.pixel_size import PixelSize, micrometres, parse_number

log = logging.getLogger(__name__)

IMAGE_COLUMN = "image_url"
SPECIMEN_COLUMN = "specimen"
"""Of a user's own folder: the sub-folder of the image."""
PIXEL_SIZE_COLUMN = "um_per_pixel"
"""The side of a pixel in micrometres."""
CORRECTED_COLUMN = "corrected"
"""Whether the annotation started from a prediction, which somebody has corrected."""
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}

COMMON_SCALE = 0.1
"""Pixel sizes that differ by less than this fraction are taken for the same."""

BLANK = "(blank)"
"""Stands for a missing value in the name of a group."""


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """Read metadata.csv: image name to its row, column name to text, in file order.

    Raises:
        InputError: as for `read_table`, it has no column `image_url`, or an image has two rows. The message names
            the user's own file that the table was made from.
    """
    line_map = read_line_map(path)
    if not path.is_file():
        raise InputError(f"{line_map.place()}: no such file; this dataset has no metadata")
    header, lines = read_table(path, line_map.place)
    if IMAGE_COLUMN not in header:
        raise InputError(f"{line_map.place(1)}: no column {IMAGE_COLUMN}; add one with the names of the images")
    rows: dict[str, dict[str, str]] = {}
    for number, fields in lines:
        row = dict(zip(header, fields, strict=True))
        if row[IMAGE_COLUMN] in rows:
            raise InputError(f"{line_map.place(number)}: {row[IMAGE_COLUMN]} has an earlier line too; remove one")
        rows[row[IMAGE_COLUMN]] = row
    return rows


def values_of(path: Path, images: Sequence[str], columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the values that each image has in the `columns` of the metadata at `path`.

    Raises:
        InputError: as for `read_metadata`, or a column or an image is not in the table.
    """
    metadata = read_metadata(path)
    known = list(next(iter(metadata.values()), {}))
    table = read_line_map(path).place()
    for column in columns:
        if column not in known:
            raise InputError(f"{table}: no column {column}; there are {', '.join(known)}")
    for image in images:
        if image not in metadata:
            raise InputError(f"{table}: no line for the annotated image {image}; add one")
    return {image: tuple(metadata[image][column] for column in columns) for image in images}


def corrected_images(path: Path, images: Sequence[str]) -> list[str]:
    """Return those of `images` whose annotations are corrected predictions by the metadata at `path`.

    None are where there is no such table, or no such column.

    Raises:
        InputError: as for `read_metadata`, or a value is neither true nor false.
    """
    metadata = read_metadata(path) if path.is_file() else {}
    texts = {image: metadata.get(image, {}).get(CORRECTED_COLUMN, "").strip() for image in images}
    for image, text in texts.items():
        if text.lower() not in TRUTHS:
            place = f"{read_line_map(path).place()}, {CORRECTED_COLUMN} of {image}"
            raise InputError(f"{place}: {text!r} is neither true nor false; write one of them")
    return [image for image, text in texts.items() if TRUTHS[text.lower()]]


def common_pixel_size(path: Path, images: Sequence[str]) -> PixelSize | None:
    """Return the pixel size that `images` have in common by the metadata at `path`: their median.

    None where the table has no such column or one of them no value there, and, with a warning, where one differs
    from the median by more than COMMON_SCALE.

    Raises:
        InputError: as for `read_metadata`, or a value is not a number above 0.
    """
    metadata, place = read_metadata(path), read_line_map(path).place()
    texts = [metadata.get(image, {}).get(PIXEL_SIZE_COLUMN, "").strip() for image in images]
    if not all(texts):
        return None
    source = f"{PIXEL_SIZE_COLUMN} of metadata.csv"
    sizes = [
        micrometres(parse_number(text, f"{place}, {PIXEL_SIZE_COLUMN} of {image}"), "um", place)
        for image, text in zip(images, texts, strict=True)
    ]
    size = statistics.median(sizes)
    if max(abs(one / size - 1) for one in sizes) > COMMON_SCALE:
        log.warning(
            "the pixel sizes of the training micrographs differ (%.4g to %.4g um): the model has none, and "
            "`microseg segment` cannot warn of another magnification",
            *(min(sizes), max(sizes)),
        )
        return None
    return PixelSize(size, source)


def group_name(values: Sequence[str]) -> str:
    """Return the name of the group that an image's values in the grouping columns define; "" without columns.

    A blank value is a value like any other: images of unknown type may well be of one type. As a group of their
    own they stay in one split; drawn one by one, they could leak from training into the test set.
    """
    return " / ".join(value.strip() or BLANK for value in values)
