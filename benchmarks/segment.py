"""How fast `microseg segment` is end to end, beside the stage predict alone, and how its memory grows.

python benchmarks/segment.py --micrographs 100 500

For each number it draws synthetic micrographs of 1024 x 768, lets the stage predict compute their logits with the
model of this project, and then lets `microseg segment` make masks, overlays, tables and the report of the same
micrographs. Each is a process of its own, with its start and all that it imports; the peak is its largest resident
set.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from microseg.common.params import SyntheticParams
from microseg.sources.synthetic import write_synthetic
from microseg.splits import SplitRow, write_split

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH = 768, 1024


def timed(arguments: list[str]) -> tuple[float, float]:
    """Run a command in the project; return its seconds and the largest resident set of its process in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(arguments, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(arguments)} failed")
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6


def measure(count: int) -> str:
    """Predict and segment `count` micrographs; return a line that says how long it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder, SyntheticParams(images=count, height=HEIGHT, width=WIDTH), seed=1)
        images = sorted(path.name for path in (folder / "images").iterdir())
        write_split(folder / "split.csv", [SplitRow(image, "test", group="") for image in images])
        stage = ["--split", f"{folder}/split.csv", "--images", f"{folder}/images", "--logits", f"{folder}/logits"]
        model = ["--model", str(ROOT / "models")]
        bare, bare_peak = timed([sys.executable, "stages/predict.py", *stage, *model])
        shutil.rmtree(folder / "logits")
        program = [sys.executable, "-m", "microseg.console.program", "segment", f"{folder}/images"]
        whole, peak = timed([*program, *model, "--output", f"{folder}/measured", "--pixel-size", "0.05um"])
        page = (folder / "measured" / "report.html").stat().st_size / 1e6
    return (
        f"{count} micrographs: predict {bare:.1f} s, peak {bare_peak:.0f} MB; segment {whole:.1f} s, "
        f"{bare / whole:.2f} of that pace, peak {peak:.0f} MB, page {page:.1f} MB"
    )


def main() -> None:
    """Read the command line and measure each number of micrographs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--micrographs", type=int, nargs="+", default=[100, 500], help="how many (default: %(default)s)"
    )
    for count in parser.parse_args().micrographs:
        print(measure(count), flush=True)


if __name__ == "__main__":
    main()
