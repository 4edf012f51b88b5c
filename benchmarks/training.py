"""How fast a training step is, beside the plainest way of doing it and beside a matrix product, in one run.

python benchmarks/training.py                      # everything, into benchmarks/results, as training_cpu_bf16.md
python benchmarks/training.py --only 16 256 256 8  # one, only printed: base channels, height, width, batch size

The plain loop is the usual one, with Adam as it comes and the network without normalisation: float32 and
contiguous tensors on a CPU; channels_last on a GPU, with autocast to bfloat16 where the GPU has it. Ours is what
`stages/train.py` does with a batch, on random numbers instead of micrographs: once with the same network, once
with batch normalisation, as the default has it. Each measurement is a process of its own: none finds the memory
of another one. The ways take turns, and the fastest step of each counts.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

# Base channels, height, width, batch size: a step of the default, then as large as 16 GB allow the plain loop.
CONFIGURATIONS = (
    (16, 128, 128, 4),
    (16, 256, 256, 8),
    (32, 256, 256, 8),
    (64, 256, 256, 8),
    (16, 768, 1024, 4),
    (32, 768, 1024, 2),
    (64, 768, 1024, 1),
)
WAYS = ("plain", "ours", "normalised")
MATRIX_SIZE = 4096
RESULTS = Path(__file__).parent / "results"


def measure(
    way: str, base_channels: int, height: int, width: int, batch_size: int, steps: int
) -> dict[str, float]:
    """Run some steps and some matrix products of the same precision in this process."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from microseg.network.devices import start
    from microseg.network.environment import precision_of, training_memory_format
    from microseg.network.losses import bce
    from microseg.network.unet import UNet

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = UNet(base_channels, norm_layer="batch" if way == "normalised" else "none").to(device)
    module: torch.nn.Module
    if way != "plain":
        fabric = start("auto", "auto")
        network.to(memory_format=training_memory_format(base_channels, precision_of(fabric), device))
        adam = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0, fused=True)
        module, optimizer = fabric.setup(network, adam)
        backward = fabric.backward
        numbers = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision_of(fabric), torch.float32)
    else:
        gpu = device.type == "cuda"
        module = network.to(memory_format=torch.channels_last if gpu else torch.contiguous_format)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        has_bf16 = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        backward, numbers = torch.Tensor.backward, torch.bfloat16 if has_bf16 else torch.float32
    micrographs = torch.randn(batch_size, 1, height, width, device=device)
    masks = torch.rand(batch_size, 1, height, width, device=device) > 0.9

    def step() -> None:
        with torch.autocast(device.type, numbers, enabled=way == "plain" and numbers != torch.float32):
            logits = module(micrographs)
        backward(bce(logits, masks).mean())
        optimizer.step()
        optimizer.zero_grad()
        synchronize()

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    counter = FlopCounterMode(display=False)
    with counter:
        step()
    seconds = fastest(step, steps)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident_peak()
    matrix = torch.randn(MATRIX_SIZE, MATRIX_SIZE, device=device, dtype=numbers)
    product_seconds = fastest(lambda: (matrix @ matrix, synchronize()), 10)
    return {
        "images_per_second": batch_size / seconds,
        "gflops": counter.get_total_flops() / seconds / 1e9,
        "matrix_gflops": 2 * MATRIX_SIZE**3 / product_seconds / 1e9,
        "peak_mb": peak / 1e6,
    }


def resident_peak() -> int:
    """Return the largest resident set of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fastest(run: Callable[[], object], repeats: int) -> float:
    """Return the seconds of the fastest of several runs."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def measure_apart(way: str, configuration: tuple[int, ...], steps: int) -> dict[str, float]:
    """Measure in a new process."""
    command = [
        sys.executable,
        __file__,
        "--measure",
        way,
        "--steps",
        str(steps),
        "--only",
        *map(str, configuration),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def compare(configuration: tuple[int, ...], steps: int, rounds: int) -> dict[str, float | str]:
    """Measure all ways in turns and return one row of the table."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for way in WAYS:
            measured = measure_apart(way, configuration, steps)
            if way not in best or measured["images_per_second"] > best[way]["images_per_second"]:
                best[way] = measured
    ours, plain, normalised = best["ours"], best["plain"], best["normalised"]
    base_channels, height, width, batch_size = configuration
    return {
        "base_channels": base_channels,
        "size": f"{width} x {height}",
        "batch_size": batch_size,
        "plain_images_per_second": round(plain["images_per_second"], 3),
        "images_per_second": round(ours["images_per_second"], 3),
        "speed_up": round(ours["images_per_second"] / plain["images_per_second"], 2),
        "normalised_images_per_second": round(normalised["images_per_second"], 3),
        "normalised_relative": round(normalised["images_per_second"] / ours["images_per_second"], 3),
        "plain_gflops": round(plain["gflops"], 1),
        "gflops": round(ours["gflops"], 1),
        "matrix_gflops": round(ours["matrix_gflops"], 1),
        "share_of_matrix_rate": round(ours["gflops"] / ours["matrix_gflops"], 3),
        "normalised_share_of_matrix_rate": round(normalised["gflops"] / normalised["matrix_gflops"], 3),
        "plain_peak_mb": round(plain["peak_mb"]),
        "peak_mb": round(ours["peak_mb"]),
        "normalised_peak_mb": round(normalised["peak_mb"]),
    }


def numbers_here() -> str:
    """Return what this machine computes our steps on and with, such as cpu_bf16."""
    import torch

    from microseg.network.environment import resolve_precision

    device: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
    return f"{device}_{resolve_precision('auto', device)}"


def write_tables(rows: list[dict[str, float | str]], folder: Path, name: str) -> None:
    """Write the rows as CSV and as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    (folder / f"{name}.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        type=int,
        nargs=4,
        action="append",
        help="one configuration instead of all; may be given several times",
    )
    parser.add_argument("--steps", type=int, default=3, help="steps of a measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of the ways (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write (default: %(default)s)")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, *arguments.only[0], arguments.steps)))
        return
    rows: list[dict[str, float | str]] = []
    name = f"training_{numbers_here()}"
    for configuration in map(tuple, arguments.only or CONFIGURATIONS):
        rows.append(compare(configuration, arguments.steps, arguments.rounds))
        print(json.dumps(rows[-1]), flush=True)
        if not arguments.only:  # one row must not take the place of the whole table
            write_tables(rows, arguments.results, name)


if __name__ == "__main__":
    main()
