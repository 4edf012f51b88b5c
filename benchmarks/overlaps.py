"""How long the search for micrographs that show the same place takes, what it finds, and what it wrongly reports.

    python benchmarks/overlaps.py

Micrographs of 1024 x 768 pixels are drawn, each a place of its own, with islands in noise, laths of one direction,
a lattice, or next to nothing in it, and all with the same fall-off of brightness and the same bar at the bottom.
Then windows that share part of their area, copies in other orientations and sizes, and noisier ones are added, 20
of each. Printed are seconds, memory, which of the added ones were found, and other pairs.
"""

import argparse
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microseg.micrographs.images import write_micrograph
from microseg.micrographs.overlaps import look_at, overlapping_images

HEIGHT, WIDTH, GRAIN = 768, 1024, 8
SHARED = (0.2, 0.35, 0.5, 0.75)
COPIES = 20

Grey = NDArray[np.uint8]


def smooth_noise(rng: np.random.Generator, height: int, width: int, grain: float) -> NDArray[Any]:
    """Return a random field with structures of this size in pixels, and a deviation of 1."""
    small = rng.standard_normal((round(height / grain) + 3, round(width / grain) + 3), np.float32)
    field = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray((field - field.mean()) / field.std())


def draw(rng: np.random.Generator, kind: str, height: int = HEIGHT, width: int = WIDTH) -> NDArray[Any]:
    """Draw a place."""
    noise = rng.standard_normal((height, width), np.float32)
    if kind == "islands":
        islands = smooth_noise(rng, height, width, 24) > 1
        return np.asarray(110 + 50 * islands + 6 * smooth_noise(rng, height, width, 3) + 4 * noise)
    if kind == "laths":
        return np.asarray(110 + 25 * smooth_noise(rng, height // 8, width, 6).repeat(8, axis=0) + 6 * noise)
    if kind == "lattice":
        rows, columns = np.ogrid[:height, :width]
        at = rng.uniform(0, 40, 2)
        return np.asarray(110 + 25 * np.sin((rows + at[0]) / 6.4) * np.sin((columns + at[1]) / 6.4) + 6 * noise)
    return np.asarray(110 + 4 * noise)


def finished(place: NDArray[Any]) -> Grey:
    """Return a micrograph of a place: darker towards the corners, with a bar at the bottom."""
    rows, columns = (np.linspace(-1, 1, length)[:, None] for length in place.shape)
    picture = place * (1 - 0.25 * (rows**2 + columns.T**2))
    bar = 40 + 200 * (smooth_noise(np.random.default_rng(0), 60, place.shape[1], 6) > 1)
    picture[-60:] = bar
    return np.clip(picture, 0, 255).astype(np.uint8)


def add_copies(rng: np.random.Generator, folder: Path) -> set[tuple[str, str]]:
    """Write pairs that show the same place; return their names."""
    pairs = set()
    for number in range(COPIES):
        place = draw(rng, "islands", 2 * HEIGHT, 2 * WIDTH)
        first = finished(place[:HEIGHT, :WIDTH])
        others = {"noisier": np.clip(first + rng.normal(0, 12, first.shape), 0, 255).astype(np.uint8)}
        for fraction in SHARED:
            tall = rng.uniform(fraction, 1)
            down, right = round(HEIGHT * (1 - tall)), round(WIDTH * (1 - fraction / tall))
            others[f"shared {fraction:.0%}"] = finished(place[down : down + HEIGHT, right : right + WIDTH])
        turned = np.rot90(first if number % 2 else first[:, ::-1], number % 4)
        others["oriented"] = np.ascontiguousarray(turned)
        size = (np.array(first.shape[::-1]) * rng.uniform(0.3, 1.5)).astype(int)
        others["another size"] = np.asarray(Image.fromarray(first).resize((int(size[0]), int(size[1]))))
        others["smaller crop"] = np.ascontiguousarray(first[100:612, 200:712])
        write_micrograph(folder / f"{number}.png", first)
        for name, other in others.items():
            write_micrograph(folder / f"{number} {name}.png", other)
            pairs.add((f"{number}.png", f"{number} {name}.png"))
    return pairs


def main() -> None:
    """Print what the search takes and finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1705)
    images = parser.parse_args().images
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(images):
            kind = ("islands", "islands", "laths", "lattice", "empty")[number % 5]
            write_micrograph(folder / f"{kind} {number}.png", finished(draw(rng, kind)))
        names = [path.name for path in folder.iterdir()]
        start = time.perf_counter()
        looks = look_at(folder, names)
        between = time.perf_counter()
        split = dict(
            zip(names, rng.choice(["train", "validation", "test"], images, p=[0.64, 0.16, 0.2]), strict=True)
        )
        found = overlapping_images(looks, split)
        end = time.perf_counter()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(
            f"{images} micrographs: {between - start:.1f} s to read, {end - between:.1f} s to compare "
            f"({time.process_time():.1f} s of one core with the drawing), {memory:.0f} MB",
            flush=True,
        )
        print(f"reported, of none: {found}")
        pairs = add_copies(rng, folder)
        added = sorted({image for pair in pairs for image in pair})
        looks = look_at(folder, added)
        together = {frozenset(pair) for pair in overlapping_images(looks, {image: image for image in added})}
        seen = Counter(
            second.split(" ", 1)[1] for first, second in pairs if frozenset((first, second)) in together
        )
        for kind in sorted({second.split(" ", 1)[1] for _, second in pairs}):
            print(f"{kind.removesuffix('.png')}: {seen[kind]} of {COPIES}")
        wrong = [
            sorted(pair) for pair in together if len({image.split()[0].removesuffix(".png") for image in pair}) > 1
        ]
        print(f"reported, of different places: {wrong}")


if __name__ == "__main__":
    main()
