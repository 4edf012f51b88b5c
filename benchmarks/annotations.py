"""How fast the published polygons are read and drawn, as ratios to the plainest way of doing it, in one run.

python benchmarks/annotations.py nature_scidata_heerlen_aachen_steel_annotations_polygon.csv
"""

import argparse
import ast
import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import ImageMask, read_annotations

HEIGHT, WIDTH = 768, 1024


def read_plainly(table: Path) -> None:
    """Read the table as one would in a notebook."""
    with table.open(newline="") as file:
        for _, point, polygon in list(csv.reader(file, delimiter=";"))[1:]:
            ast.literal_eval(point), ast.literal_eval(polygon)


def draw(masks: list[ImageMask]) -> None:
    """Draw all masks with the package."""
    for mask in masks:
        create_binary_mask(mask, HEIGHT, WIDTH)


def draw_plainly(outlines: list[list[list[tuple[int, int]]]]) -> None:
    """Draw all masks with nothing but Pillow, from vertices that are whole numbers already."""
    for polygons in outlines:
        canvas = Image.new("L", (WIDTH, HEIGHT))
        for polygon in polygons:
            ImageDraw.Draw(canvas).polygon(polygon, fill=1)
        np.asarray(canvas)


def compare(what: str, ours: Callable[[], object], plain: Callable[[], object], repeats: int) -> None:
    """Print the shortest of several alternating runs of both, and their ratio."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        for name, function in (("ours", ours), ("plain", plain)):
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    best, best_plain = min(seconds["ours"]), min(seconds["plain"])
    print(f"{what}: {best:.3f} s, plainly {best_plain:.3f} s, ratio {best / best_plain:.3f}")


def main() -> None:
    """Read the command line and print both comparisons."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("table", type=Path, help="the published table of polygons")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default: %(default)s)")
    arguments = parser.parse_args()
    masks = read_annotations(arguments.table)
    outlines = [
        [[(int(x), int(y)) for x, y in polygon.nodes.tolist()] for polygon in mask.polygons] for mask in masks
    ]
    compare(
        "reading all polygons",
        lambda: read_annotations(arguments.table),
        lambda: read_plainly(arguments.table),
        arguments.repeats,
    )
    compare("drawing all masks", lambda: draw(masks), lambda: draw_plainly(outlines), arguments.repeats)


if __name__ == "__main__":
    main()
