"""How often the interval of an area fraction from one or two fields contains the true value, or is not given.

    python benchmarks/coverage_of_single_fields.py [../shared/data/uhcs/masks]

Fields are drawn: discs of different sizes scattered at random (a Boolean model), the same in clusters, and stripes
through the field. The true area fraction is known from the model. Of label images in a folder, if one is given,
quarters and ninths are cut out, and the truth is the area fraction of the whole. A table is printed as Markdown.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microseg.measurement.integral_range import IntegralRangeInterval, fraction_interval

SIDE = 384
DEVIATION, LARGEST = 0.4, 3.0
"""Standard deviation of the logarithm of the radii, and the largest radius by the median."""
CLUSTER, SPREAD = 5, 4
"""Mean number of discs in a cluster, and the half width of clusters by the median radius."""

Mask = NDArray[np.bool_]


def discs(rng: np.random.Generator, radius: float, fraction: float, clustered: bool = False) -> Mask:
    """Draw a field with this fraction of discs on average, exactly so unless they are in clusters."""
    margin = LARGEST * radius + (SPREAD * radius if clustered else 0)
    density = -math.log(1 - fraction) / (math.pi * mean_square(radius))
    expected = density * (SIDE + 2 * margin) ** 2
    if clustered:
        centres = np.repeat(
            rng.uniform(-margin, SIDE + margin, (rng.poisson(expected / CLUSTER), 2)), CLUSTER, axis=0
        )
        centres += SPREAD * radius * rng.uniform(-1, 1, centres.shape)
    else:
        centres = rng.uniform(-margin, SIDE + margin, (rng.poisson(expected), 2))
    mask = np.zeros((SIDE, SIDE), bool)
    for centre, one in zip(centres, radii(rng, radius, len(centres)), strict=True):
        top, left = np.clip(centre - one, 0, SIDE).astype(int)
        bottom, right = np.clip(centre + one + 2, 0, SIDE).astype(int)
        rows, columns = np.ogrid[top:bottom, left:right]
        mask[top:bottom, left:right] |= (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= one**2
    return mask


def radii(rng: np.random.Generator, radius: float, count: int) -> NDArray[np.float64]:
    """Return so many radii."""
    return np.minimum(rng.lognormal(math.log(radius), DEVIATION, count), LARGEST * radius)


@cache
def mean_square(radius: float) -> float:
    """Return the mean of the squares of the radii."""
    return float((radii(np.random.default_rng(0), radius, 1_000_000) ** 2).mean())


def stripes(rng: np.random.Generator, width: float, fraction: float) -> Mask:
    """Draw parallel stripes of one width at random distances, in a random direction."""
    gap, angle = width * (1 / fraction - 1), rng.uniform(0, math.pi)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    places = rows * math.sin(angle) + columns * math.cos(angle)
    starts = np.cumsum(rng.exponential(gap, int(6 * SIDE / width)) + width) - 3 * SIDE
    last = np.maximum(np.searchsorted(starts, places) - 1, 0)
    return np.asarray(places - starts[last] < width)


def print_row(name: str, specimens: Sequence[tuple[Sequence[Mask], float]]) -> None:
    """Print how many specimens have an interval, and how many of those contain the truth."""
    found = [(fraction_interval(masks), truth) for masks, truth in specimens]
    given = [(one, truth) for one, truth in found if isinstance(one, IntegralRangeInterval)]
    covered = f"{np.mean([one.low <= truth <= one.high for one, truth in given]):.3f}" if given else ""
    width = f"{np.median([(one.high - one.low) / 2 / truth for one, truth in given]):.0%}" if given else ""
    print(f"| {name} | {len(given) / len(found):.2f} | {covered} | {width} |", flush=True)


def cut_outs(folder: Path, label: int, parts: int, count: int) -> list[tuple[list[Mask], float]]:
    """Cut windows of 1 / parts of the sides out of each label image that has the label."""
    rng, cut = np.random.default_rng(parts), []
    for path in sorted(folder.iterdir()):
        mask = np.asarray(Image.open(path)) == label
        height, width = (length // parts for length in mask.shape)
        for _ in range(count if mask.mean() > 0.01 else 0):
            top, left = (
                rng.integers(whole - part) for whole, part in zip(mask.shape, (height, width), strict=True)
            )
            cut.append(([mask[top : top + height, left : left + width]], float(mask.mean())))
    return cut


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, nargs="?", help="label images; 1 and 2 are cut out")
    parser.add_argument("--specimens", type=int, default=500, help="specimens of each kind (default: 500)")
    args = parser.parse_args()
    print("| fields | an interval | covers | half its width, of the truth |\n|---|---|---|---|")

    def drawn(
        draw: Callable[[np.random.Generator], Mask], truth: float, fields: int = 1
    ) -> list[tuple[list[Mask], float]]:
        rng = np.random.default_rng(1)
        return [([draw(rng) for _ in range(fields)], truth) for _ in range(args.specimens)]

    for fields in (1, 2):
        for radius in (4, 8, 16, 32):
            for fraction in (0.05, 0.1, 0.3):
                specimens = drawn(partial(discs, radius=radius, fraction=fraction), fraction, fields)
                print_row(f"{fields}, discs of radius {radius}, {fraction:.0%}", specimens)
    for radius in (4, 8):
        many = [
            discs(np.random.default_rng(seed), radius, 0.1, clustered=True).mean()
            for seed in range(10**6, 10**6 + 2000)
        ]
        specimens = drawn(partial(discs, radius=radius, fraction=0.1, clustered=True), float(np.mean(many)))
        print_row(f"1, clusters of discs of radius {radius}, {np.mean(many):.0%}", specimens)
    for width in (3, 6, 12):
        print_row(f"1, stripes of width {width}, 20%", drawn(partial(stripes, width=width, fraction=0.2), 0.2))
    for label in (1, 2) if args.labels else ():
        for parts in (2, 3):
            print_row(
                f"1 / {parts**2} of a micrograph, label {label}",
                cut_outs(args.labels, label, parts, args.specimens // 24),
            )


if __name__ == "__main__":
    main()
