"""Peak memory and time of `microseg segment` on one mosaic.

python benchmarks/mosaic.py --side 20000

The mosaic is a square of synthetic micrographs beside each other. Its network has few channels and is trained for
seconds: it is fast, and finds islands of the usual number and size, which is what memory depends on beside the
number of pixels. The command runs in a process of its own, whose largest resident set is the peak.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

SEED, MICROGRAPHS, HEIGHT, WIDTH = 1, 12, 768, 1024
NETWORK = {"base_channels": 4, "epochs": 12, "crop": 128, "crops_per_micrograph": 16}
HERE = {"precision": "float32", "workers": 0, "accelerator": "cpu"}
SECONDS_BETWEEN_LOOKS = 0.1


def write_mosaic(folder: Path, side: int) -> Path:
    """Draw micrographs and their masks below `folder`, train a network on them, and lay them out as one mosaic.

    Returns:
        The folder that holds nothing but the mosaic; the model is in folder/model.
    """
    from microseg.annotations.masks import create_binary_mask
    from microseg.annotations.polygons import read_annotations
    from microseg.common.params import SyntheticParams
    from microseg.micrographs.images import read_micrograph, write_mask, write_micrograph
    from microseg.sources.synthetic import write_synthetic

    write_synthetic(folder, SyntheticParams(images=MICROGRAPHS, height=HEIGHT, width=WIDTH), SEED)
    (folder / "masks").mkdir()
    for mask in read_annotations(folder / "annotations.csv"):
        write_mask(folder / "masks" / mask.img_name, create_binary_mask(mask, HEIGHT, WIDTH))
    names = sorted(path.name for path in (folder / "masks").iterdir())
    train_network(folder, tuple(names))
    tiles = [read_micrograph(folder / "images" / name) for name in names]
    rows = [
        np.hstack([tiles[(row + column) % len(tiles)] for column in range(-(-side // WIDTH))])[:, :side]
        for row in range(-(-side // HEIGHT))
    ]
    (folder / "mosaics").mkdir()
    write_micrograph(folder / "mosaics" / "mosaic.png", np.vstack(rows)[:side])
    return folder / "mosaics"


def train_network(folder: Path, names: tuple[str, ...]) -> None:
    """Train a small network on the micrographs, the last one for validation, and write it into folder/model."""
    from microseg.common.params import TrainParams, read_params
    from microseg.network.devices import start
    from microseg.network.inputs import MaskedMicrographs
    from microseg.network.model_card import describe, write_model
    from microseg.network.provenance import provenance
    from microseg.training.train import train

    defaults = read_params(Path(__file__).parents[1] / "params.yaml").train.model_dump()
    params = TrainParams.model_validate(defaults | NETWORK | HERE)
    training, validation = (
        MaskedMicrographs(folder / "images", folder / "masks", part) for part in (names[:-1], names[-1:])
    )
    fabric = start("cpu", "float32")
    state = train(fabric, training, validation, params, SEED, folder / "checkpoints", folder / "pixels")
    weights, kept, measured = state.model("best")
    card = describe(kept.epoch, measured.iou, training, validation, params, SEED, provenance(fabric))
    (folder / "model").mkdir()
    write_model(folder / "model", weights, card)


def segment(mosaic: Path, model: Path, output: Path) -> tuple[float, float]:
    """Run `microseg segment` and return its peak memory in GB and the seconds it took."""
    command = [sys.executable, "-m", "microseg.console.program", "segment", mosaic, "--model", model]
    start, peak = time.perf_counter(), 0
    process = psutil.Popen([*map(str, command), "--output", str(output)])
    while process.poll() is None:
        peak = max(peak, process.memory_info().rss)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak / 1e9, time.perf_counter() - start


def main() -> None:
    """Read the command line, make the mosaic, segment it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000, help="pixels a side (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mosaic = write_mosaic(folder, arguments.side)
        peak, seconds = segment(mosaic, folder / "model", folder / "output")
        islands = sum(1 for _ in (folder / "output" / "islands.csv").open(encoding="utf-8")) - 1
    print(f"{arguments.side} x {arguments.side} pixels, {islands} islands: {peak:.2f} GB at most, {seconds:.0f} s")


if __name__ == "__main__":
    main()
