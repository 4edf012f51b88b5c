"""How many training crops a second one process makes, with copies of the pixels mapped into memory and without.

python benchmarks/crops.py    # both sizes, into benchmarks/results/crops.md

Both ways make the same crops of 256 x 256 pixels, augmented as the default augments them, from micrographs of
noise, in one run. Without copies each crop decodes its micrograph and its mask. The first crop of a micrograph
decodes in both ways, and leaves the copy: it is measured apart.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

# Height, width, micrographs, crops with copies, crops without: some seconds each.
SIZES = ((768, 1024, 8, 2000, 60), (20_000, 20_000, 1, 2000, 2))
CROP = 256
RESULTS = Path(__file__).parent / "results"
COLUMNS = ("size", "way", "first crop of a micrograph, s", "crops per second", "ratio")


def write_micrographs(folder: Path, height: int, width: int, count: int) -> tuple[str, ...]:
    """Write noise as micrographs, and masks with a square of foreground in the middle."""
    from microseg.micrographs.images import write_mask, write_micrograph

    for part in ("images", "masks"):
        (folder / part).mkdir()
    random = np.random.default_rng(0)
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 3 : height // 2, width // 3 : width // 2] = True
    names = tuple(f"IMG_{number:05d}.png" for number in range(count))
    for name in names:
        # Levels of grey as many as a micrograph's noise has, so that the files are about as large.
        write_micrograph(folder / "images" / name, random.integers(100, 140, mask.shape, dtype=np.uint8))
        write_mask(folder / "masks" / name, mask)
    return names


def measure(folder: Path, names: tuple[str, ...], limit_gb: str, crops: int) -> tuple[float, float]:
    """Return the seconds of the first crop of a micrograph, and the crops per second after that."""
    from PIL import Image

    from microseg.common.params_file import read_params
    from microseg.network.inputs import MaskedMicrographs
    from microseg.training.data import Draw, TrainingCrops
    from microseg.training.pixel_cache import LIMIT_VARIABLE, PixelCache

    os.environ[LIMIT_VARIABLE] = limit_gb
    Image.MAX_IMAGE_PIXELS = None  # these pictures are our own, whatever their size
    params = read_params(Path(__file__).parents[1] / "params.yaml").train
    store = PixelCache(MaskedMicrographs(folder / "images", folder / "masks", names), folder / "pixels")
    data = TrainingCrops(store, 1, params.model_copy(update={"crop_size": CROP}))
    begin = time.perf_counter()
    for index in range(len(names)):
        data[Draw(1, index, 0, 1.0)]
    middle = time.perf_counter()
    for number in range(crops):
        data[Draw(2, number % len(names), number, 1.0)]
    return (middle - begin) / len(names), crops / (time.perf_counter() - middle)


def compare(height: int, width: int, micrographs: int, with_copies: int, without: int) -> list[list[str]]:
    """Measure both ways and return two rows of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = write_micrographs(folder, height, width, micrographs)
        decoded = measure(folder, names, "0", without)
        mapped = measure(folder, names, "10", with_copies)
    size = f"{width:,} x {height:,}"
    return [
        [size, "decoded for each crop", f"{decoded[0]:.2g}", f"{decoded[1]:.3g}", "1"],
        [size, "mapped into memory", f"{mapped[0]:.2g}", f"{mapped[1]:.3g}", f"{mapped[1] / decoded[1]:.3g}"],
    ]


def main() -> None:
    """Read the command line, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write (default: %(default)s)")
    arguments = parser.parse_args()
    rows = [list(COLUMNS), ["---"] * len(COLUMNS)]
    for size in SIZES:
        rows += compare(*size)
        print(*rows[-2:], sep="\n", flush=True)
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "crops.md").write_text("".join(f"| {' | '.join(row)} |\n" for row in rows))


if __name__ == "__main__":
    main()
