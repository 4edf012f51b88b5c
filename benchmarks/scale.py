"""How the time of the steps before training grows with the number of micrographs or polygons.

    python benchmarks/scale.py

Each step runs once at a tenth of the size and once at the size; a growth of 10 is proportional, 100 is quadratic.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from microseg.annotations.masks import find_overlaps
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask
from microseg.sources.coco import coco_lines
from microseg.splits import draw_split

IMAGE_SIZE = 64


def split(images: int, groups: Callable[[int], str]) -> Callable[[], object]:
    """Return the draw of a split of so many images, whose groups follow from their numbers."""
    named = {f"IMG_{number:06d}.png": groups(number) for number in range(images)}
    return lambda: draw_split(named, test_size=0.2, sample_size=None, validation_size=0.2, seed=1)


def coco_import(folder: Path, images: int) -> Callable[[], object]:
    """Return the reading of a COCO file of so many images with one small island each."""
    names = [f"IMG_{number:06d}.png" for number in range(images)]
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [
            {"image_id": number, "category_id": 1, "segmentation": [[9, 9, 20, 10, 19, 22, 10, 20]]}
            for number in range(images)
        ],
    }
    path = folder / f"{images}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    sizes = dict.fromkeys(names, (IMAGE_SIZE, IMAGE_SIZE))
    return lambda: list(coco_lines(path, sizes, {}, 0))


def overlaps(polygons: int) -> Callable[[], object]:
    """Return the search for overlaps among so many islands, equally dense for any number, on one micrograph."""
    rng = np.random.default_rng(0)
    side = int(60 * polygons**0.5)
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    centres, radii = rng.uniform(0, side, (polygons, 2)), rng.uniform(5, 25, polygons)
    islands = [
        AnnotatedPolygon(centre, centre + radius * circle, line)
        for line, (centre, radius) in enumerate(zip(centres, radii, strict=True))
    ]
    return lambda: list(find_overlaps(ImageMask("mosaic.png", islands), side, side))


def seconds(step: Callable[[], object]) -> float:
    """Return the time that a step takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    """Print the seconds of each step at both sizes, and the growth."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="images (default: %(default)s)")
    parser.add_argument("--polygons", type=int, default=2_000, help="polygons an image (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        steps: dict[str, tuple[int, Callable[[int], Callable[[], object]]]] = {
            "split of images": (arguments.images, lambda size: split(size, lambda _: "")),
            "split of groups of five": (arguments.images, lambda size: split(size, lambda image: f"{image // 5}")),
            "split of a thousand groups": (
                arguments.images,
                lambda size: split(size, lambda image: f"{image % 1000}"),
            ),
            "COCO import": (arguments.images, lambda size: coco_import(Path(name), size)),
            "overlaps": (arguments.polygons, overlaps),
        }
        for what, (size, step) in steps.items():
            few, many = seconds(step(size // 10)), seconds(step(size))
            print(f"{what}, {size // 10} and {size}: {few:.2f} s and {many:.2f} s, growth {many / few:.1f}")


if __name__ == "__main__":
    main()
