"""Peak memory of the training: does it grow with the number of micrographs, or with accumulated batches?

python benchmarks/memory.py micrographs   # 100 and 1,700 micrographs of 1024 x 768 pixels, equally many steps
python benchmarks/memory.py batches       # 64 base channels, whole micrographs, batch 16 as 16 micro-batches of 1

Every training runs through `microseg.training.train` in a process of its own. The peaks are the largest resident
sets of that process and of the process that reads ahead for it, which share pages.
"""

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 768, 1024
# One epoch of 1,700 micrographs takes as many steps as 17 epochs of 100.
GROWTH = {
    "100 micrographs": {"micrographs": 100, "epochs": 17},
    "1,700 micrographs": {"micrographs": 1700, "epochs": 1},
}
SMALL = {"base_channels": 4, "crop_size": 256, "crops_per_micrograph": 1, "batch_size": 8, "checkpoint_epochs": []}
BATCHES = {
    "one step of 1": {"batch_size": 1, "accumulate_grad_batches": 1},
    "one step of 16 as 16 of 1": {"batch_size": 1, "accumulate_grad_batches": 16},
}
STUDY = {"base_channels": 64, "crop_size": None, "epochs": 1, "checkpoint_epochs": [], "micrographs": 16}


def write_micrographs(folder: Path, count: int) -> None:
    """Write noise as micrographs, and masks that are half foreground."""
    from microseg.micrographs.images import write_mask, write_micrograph

    random = np.random.default_rng(0)
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[: HEIGHT // 2] = True
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(count):
        name = f"IMG_{number:05d}.png"
        noise = random.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
        write_micrograph(folder / "images" / name, noise)
        write_mask(folder / "masks" / name, mask)


def train_here(folder: Path, changes: dict[str, object]) -> None:
    """Train in this process and print its peak memory, and that of its reader, in MB."""
    from microseg.common.params import TrainParams
    from microseg.common.params_file import read_params
    from microseg.network.devices import start
    from microseg.network.inputs import MaskedMicrographs
    from microseg.training.train import train

    names = tuple(f"IMG_{number:05d}.png" for number in range(int(str(changes.pop("micrographs")))))
    defaults = read_params(Path(__file__).parents[1] / "params.yaml").train.model_dump()
    params = TrainParams.model_validate(defaults | changes)
    training, validation = (
        MaskedMicrographs(folder / "images", folder / "masks", chosen) for chosen in (names, names[:1])
    )
    fabric = start("cpu", params.precision)
    with tempfile.TemporaryDirectory() as checkpoints, tempfile.TemporaryDirectory() as pixels:
        train(fabric, training, validation, params, 1, Path(checkpoints), Path(pixels))
    gc.collect()  # ends the readers, which are counted only then
    peaks = {
        name: round(resource.getrusage(who).ru_maxrss * 1024 / 1e6)
        for name, who in {"training": resource.RUSAGE_SELF, "reader": resource.RUSAGE_CHILDREN}.items()
    }
    print(json.dumps(peaks))


def main() -> None:
    """Read the command line, train each way in a process of its own, and print and write the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("micrographs", "batches"))
    parser.add_argument("--scale", type=int, default=1, help="divide the numbers of micrographs, for a quick try")
    parser.add_argument("--here", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        train_here(Path(arguments.here[0]), json.loads(arguments.here[1]))
        return
    ways, shared = (GROWTH, SMALL) if arguments.what == "micrographs" else (BATCHES, STUDY)
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = {way: shared | changes for way, changes in ways.items()}
        for changes in settings.values():
            changes["micrographs"] = max(1, int(str(changes["micrographs"])) // arguments.scale)
        write_micrographs(Path(folder), max(int(str(changes["micrographs"])) for changes in settings.values()))
        for way, changes in settings.items():
            command = [sys.executable, __file__, arguments.what, "--here", folder, json.dumps(changes)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            peaks[way] = json.loads(done.stdout.splitlines()[-1])
            print(f"{way}: at most {peaks[way]} MB", flush=True)
    results = Path(__file__).parent / "results" / f"memory_{arguments.what}.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(peaks, indent=2) + "\n")


if __name__ == "__main__":
    main()
