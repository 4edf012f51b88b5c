"""The source "synthetic", the default: seeded micrographs of an invented bainitic steel, without network access.

Layout and annotations follow the published micrographs (Iren et al., Scientific Data 8:140, 2021), and segmenting
them is a task of the same kind: martensite-austenite islands differ from the lath-like matrix and from bright
films and carbides by shape, rim and texture, hardly by brightness.
"""

import csv
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from microseg.common.parallel import map_in_processes
from microseg.common.params import SyntheticParams
from microseg.common.randomness import generator
from microseg.micrographs.images import write_micrograph
from microseg.sources.synthetic_outlines import Layout, Outline, place_blocks, place_islands
from microseg.sources.synthetic_texture import Style, draw_grains, draw_micrograph

ANNOTATION_HEADER = "image_url;point;polygon"
METADATA_HEADER = ("image_url", "type", "temperature", "direction", "distance", "magnification", "angle")


class Group(NamedTuple):
    """A steel type and transformation temperature, how many of 100 micrographs are of it, and its style."""

    type: str
    temperature: int
    percentage: int
    style: Style


# fmt: off
# Lower temperatures give finer laths and more films and carbides. "1" and "01" are two steels, as published.
# Style: lath width, lath contrast, grain size, brightness, island grain, island offset, films, carbides, noise.
GROUPS = (
    Group("1",    400, 14, Style( 7.0, 0.060, 130, 0.36, 4.0, 0.10, 0.70, 260, 0.030)),
    Group("1",    500, 18, Style(11.0, 0.064, 160, 0.38, 5.0, 0.09, 0.50, 120, 0.030)),
    Group("01",   500,  8, Style(12.0, 0.048, 180, 0.45, 4.5, 0.08, 0.40,  80, 0.043)),
    Group("2",    400,  5, Style( 6.0, 0.072, 110, 0.32, 3.5, 0.09, 0.90, 420, 0.025)),
    Group("5",    500, 11, Style(14.0, 0.072, 200, 0.40, 6.0, 0.07, 0.45,  60, 0.038)),
    Group("8",    400,  2, Style( 8.0, 0.080, 120, 0.50, 4.0, 0.06, 0.85, 300, 0.021)),
    Group("10",   500, 20, Style(10.0, 0.056, 150, 0.34, 5.5, 0.11, 0.60, 180, 0.034)),
    Group("11",   400,  6, Style( 7.5, 0.048, 140, 0.42, 3.5, 0.08, 0.75, 220, 0.047)),
    Group("12",   400,  5, Style( 9.0, 0.068, 170, 0.30, 4.5, 0.10, 0.65, 350, 0.025)),
    Group("CFB2", 400, 11, Style( 6.5, 0.052, 100, 0.47, 3.0, 0.07, 0.60, 500, 0.034)),
)
# fmt: on


def write_synthetic(folder: Path, synthetic: SyntheticParams, seed: int, workers: int | None = None) -> None:
    """Draw micrographs into the existing, empty `folder` with their `annotations.csv` and `metadata.csv`.

    The same seed gives the same bytes with any number of `workers` (processes; None for as many as are worth
    starting). A micrograph depends only on the seed, its number and its size, so a set of 100 is the beginning of
    a set of 1,700.
    """
    (folder / "images").mkdir()
    draw = partial(_draw, folder / "images", synthetic.height, synthetic.width, seed)
    with (
        (folder / "annotations.csv").open("w", encoding="utf-8", newline="") as annotations,
        (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as metadata,
    ):
        annotations.write(f"{ANNOTATION_HEADER}\r\n")
        metadata_rows = csv.writer(metadata)
        metadata_rows.writerow(METADATA_HEADER)
        numbers = range(1, synthetic.images + 1)
        for lines, row in map_in_processes(draw, numbers, "drawing micrographs", workers):
            annotations.writelines(lines)
            metadata_rows.writerow(row)


def _draw(images: Path, height: int, width: int, seed: int, number: int) -> tuple[list[str], tuple[object, ...]]:
    """Draw one micrograph; return its lines in annotations.csv and its row in metadata.csv."""
    rng = generator(seed, "synthetic", number)
    name = f"IMG_{number:05d}.png"
    percentages = np.array([group.percentage for group in GROUPS])
    group = GROUPS[rng.choice(len(GROUPS), p=percentages / percentages.sum())]
    grains = draw_grains(rng, (height, width), group.style.grain_size)
    layout = Layout(height, width)
    islands = place_islands(rng, layout, grains.direction_at)
    blocks = list(place_blocks(rng, layout, grains.direction_at))
    write_micrograph(images / name, draw_micrograph(rng, grains, islands, blocks, group.style))
    return [_annotation_line(name, island) for island in islands], _metadata_row(rng, name, group)


def _annotation_line(name: str, island: Outline) -> str:
    """Write one island like the published table: floats only if a click is not on a whole pixel."""
    clicks = island.clicks.astype(int) if np.all(island.clicks % 1 == 0) else island.clicks
    nodes = ", ".join(f"({x}, {y})" for x, y in clicks.tolist())
    return f"{name};{island.center};[{nodes}]\r\n"


def _metadata_row(rng: np.random.Generator, name: str, group: Group) -> tuple[object, ...]:
    direction = "Vertical" if group.temperature == 400 else "Horizontal"
    distance = rng.choice([0.0, 3.0, 6.0, 9.0, 12.0, 15.0])
    angle = rng.choice(["perpendicular", "tilt"], p=[0.75, 0.25])
    return name, group.type, group.temperature, direction, distance, 4000, angle
