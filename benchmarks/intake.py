"""How long the published tables take from the raw dataset to 1,705 written masks, and how much memory.

    python benchmarks/intake.py ../shared/data/aachen_heerlen

The micrographs themselves are not needed: blank ones of their size stand in for them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from microseg.annotations.polygons import read_annotations
from microseg.micrographs.images import write_micrograph

ROOT = Path(__file__).parents[1]
POLYGONS = "nature_scidata_heerlen_aachen_steel_annotations_polygon.csv"
METADATA = "nature_scidata_steel_metadata.csv"
STAGES = {
    "parse_csv": "--raw raw --polygons polygons.jsonl --metrics a.json --findings a.csv --plots plots_a",
    "rasterize_masks": "--images raw/images --polygons polygons.jsonl --masks masks "
    "--metrics m.json --findings m.csv --plots plots_m",
}


def write_raw(tables: Path, raw: Path, images: int) -> None:
    """Write the published tables of the first `images` micrographs, with blank ones in their place."""
    (raw / "images").mkdir(parents=True)
    shutil.copyfile(tables / METADATA, raw / "metadata.csv")
    names = [mask.img_name for mask in read_annotations(tables / POLYGONS)[:images]]
    blank = raw.parent / "blank.png"
    write_micrograph(blank, np.full((768, 1024), 128, np.uint8))
    for name in names:
        os.link(blank, raw / "images" / name)
    header, *lines = (tables / POLYGONS).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.split(";")[0] in set(names)]
    (raw / "annotations.csv").write_text(header + "".join(kept), encoding="utf-8")


def run_measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return its seconds and the largest sum of memory, in MB, that its processes held at once."""
    start, peak = time.perf_counter(), 0
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = psutil.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, env=environment)
    while process.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, peak / 1e6


def main() -> None:
    """Run both stages on a quarter of the published set and on all of it, and print what they took."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("tables", type=Path, help="the folder of the published tables")
    tables = parser.parse_args().tables
    for images in (426, 1705):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_raw(tables, folder / "raw", images)
            shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
            total = 0.0
            for stage, paths in STAGES.items():
                script = str(ROOT / "stages" / f"{stage}.py")
                seconds, memory = run_measured([sys.executable, script, *paths.split()], folder)
                total += seconds
                print(f"{images} images, {stage}: {seconds:.1f} s, {memory:.0f} MB")
            print(f"{images} images, both: {total:.1f} s")


if __name__ == "__main__":
    main()
