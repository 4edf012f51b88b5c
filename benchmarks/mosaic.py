"""Peak memory and time of `microseg segment` on one mosaic, with the model of this project.

python benchmarks/mosaic.py --side 20000

The mosaic is a square of synthetic micrographs beside each other. The command runs in a process of its own, whose
largest resident set is the peak.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from microseg.common.params import SyntheticParams
from microseg.micrographs.images import read_micrograph, write_micrograph
from microseg.sources.synthetic import write_synthetic

ROOT = Path(__file__).parents[1]
SEED, MICROGRAPHS, HEIGHT, WIDTH = 1, 40, 768, 1024


def write_mosaic(folder: Path, side: int) -> Path:
    """Draw micrographs below `folder`, lay them out as one mosaic, and return the folder that holds just that."""
    write_synthetic(folder, SyntheticParams(images=MICROGRAPHS, height=HEIGHT, width=WIDTH), SEED)
    pieces = [read_micrograph(path) for path in sorted((folder / "images").iterdir())]
    columns = -(-side // WIDTH)
    rows = [
        np.hstack([pieces[(row * columns + column) % MICROGRAPHS] for column in range(columns)])[:, :side]
        for row in range(-(-side // HEIGHT))
    ]
    (folder / "mosaics").mkdir()
    write_micrograph(folder / "mosaics" / "mosaic.png", np.vstack(rows)[:side])
    return folder / "mosaics"


def segment(mosaic: Path, output: Path) -> tuple[float, float]:
    """Run `microseg segment` and return its peak memory in GB and the seconds it took."""
    start = time.perf_counter()
    program = [sys.executable, "-m", "microseg.console.program", "segment", str(mosaic)]
    process = subprocess.Popen([*program, "--model", str(ROOT / "models"), "--output", str(output)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("microseg segment failed")
    return usage.ru_maxrss * 1024 / 1e9, time.perf_counter() - start


def main() -> None:
    """Read the command line, make the mosaic, segment it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000, help="pixels a side (default: %(default)s)")
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peak, seconds = segment(write_mosaic(folder, side), folder / "output")
        islands = sum(1 for _ in (folder / "output" / "islands.csv").open(encoding="utf-8")) - 1
    print(f"{side} x {side} pixels, {islands} islands: {peak:.2f} GB at most, {seconds:.0f} s")


if __name__ == "__main__":
    main()
