"""How long the stage evaluate takes for the whole published dataset, from a sample of such micrographs.

python benchmarks/evaluation.py --micrographs 200

Annotated masks are discs, as much foreground and as many islands as the published ones have on average; predicted
ones are these, moved and noisy. The peaks are the largest resident sets of this process and of any worker.
"""

import argparse
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from microseg.common.parallel import map_in_processes
from microseg.evaluation.metrics import Subject, measure_micrograph, summarize_method
from microseg.evaluation.scores import digest
from microseg.micrographs.images import write_mask
from microseg.prediction.logits import write_logits
from microseg.prediction.reliability import measure_probabilities

HEIGHT, WIDTH = 768, 1024
ISLANDS, FOREGROUND = 5, 0.07
PUBLISHED = 1705
METHODS = ("sigmoid", "morphology")


def write_masks(folder: Path, count: int) -> list[Subject]:
    """Write logits and annotated and predicted masks of `count` micrographs."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    radius = np.sqrt(FOREGROUND * HEIGHT * WIDTH / ISLANDS / np.pi)
    for place in ("masks", "logits", *(f"predictions/{method}" for method in METHODS)):
        (folder / place).mkdir(parents=True)
    subjects = []
    for number in range(count):
        name = f"IMG_{number:05d}.png"
        truth = np.zeros((HEIGHT, WIDTH), dtype=bool)
        points = random.uniform((0, 0), (WIDTH, HEIGHT), (ISLANDS, 2))
        for x, y in points:
            truth |= (columns - x) ** 2 + (rows - y) ** 2 < (radius * random.uniform(0.5, 1.4)) ** 2
        specks = random.random((HEIGHT, WIDTH)) > 0.999
        write_mask(folder / "masks" / name, truth)
        write_mask(folder / "predictions" / METHODS[0] / name, np.roll(truth, 3, axis=1) ^ specks)
        write_mask(folder / "predictions" / METHODS[1] / name, np.roll(truth, 5, axis=0))
        write_logits(folder / "logits", name, random.normal(np.where(truth, 2, -2), 2))
        subjects.append(Subject(name, "", tuple(map(tuple, points.tolist()))))
    return subjects


def main() -> None:
    """Read the command line, measure a sample, and print the time it takes and would take for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=200, help="size of the sample (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subjects = write_masks(folder, arguments.micrographs)
        measure = partial(
            measure_micrograph, masks=folder / "masks", predictions=folder / "predictions", methods=METHODS
        )
        start = time.perf_counter()
        measured = list(map_in_processes(measure, subjects, "measuring"))
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        images = [subject.image for subject in subjects]
        measure_probabilities(images, folder / "logits", folder / "masks", 0.0)
        seconds_probabilities = time.perf_counter() - start
        start = time.perf_counter()
        digest(images, folder / "masks")
        seconds_digest = time.perf_counter() - start
    start = time.perf_counter()
    repeated = measured * (PUBLISHED // len(measured) + 1)
    for method in METHODS:
        summarize_method(repeated[:PUBLISHED], method)
    seconds_summary = time.perf_counter() - start
    whole = (seconds + seconds_probabilities + seconds_digest) / len(measured) * PUBLISHED + seconds_summary
    print(
        f"{len(measured)} micrographs: masks {seconds:.1f} s, probabilities {seconds_probabilities:.1f} s, "
        f"digest {seconds_digest:.1f} s"
    )
    print(f"intervals of {PUBLISHED} micrographs: {seconds_summary:.1f} s")
    print(f"{PUBLISHED} micrographs would take {whole:.0f} s")
    for what, who in {"this process": resource.RUSAGE_SELF, "the workers": resource.RUSAGE_CHILDREN}.items():
        usage = resource.getrusage(who)
        seconds_used, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6
        print(f"{what}: {seconds_used:.1f} s of processor time, peak of one {peak:.0f} MB")


if __name__ == "__main__":
    main()
