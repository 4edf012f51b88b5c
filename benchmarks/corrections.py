"""How a model improves with the number of micrographs corrected, the most uncertain first or at random.

python benchmarks/corrections.py FOLDER    # FOLDER/images, FOLDER/masks and FOLDER/metadata.csv, such as UHCS

The annotation stands for the corrector. Of 24 micrographs of ultrahigh-carbon steel, those of two published folds
are the test set. A network is trained on two of the others, then fine-tuned on more and more of the rest: those
that it is least sure of, as `microseg next` orders them, or those of a random order. Fine-tuned for as many steps
without any correction, it shows what the steps alone bring. The foreground is the network of proeutectoid
cementite, label 1.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TEST_FOLDS = ("0", "3")
FOREGROUND = 1
FIRST = 2
"""Micrographs that the first network is trained on."""
CORRECTED = (0, 3, 7, 14)
SEEDS = (1, 2, 3)
ORDERS = {"uncertain": "the most uncertain first", "random": "at random", "none": "none, as many steps"}
ROOT = Path(__file__).parents[1]
COLUMNS = ("seed", "order", "corrected", "mean_iou", "rank_correlation", "seconds")

SETTINGS = {
    "base_channels": 8,
    "downsample": 2.0,
    "crop_size": 96,
    "batch_size": 4,
    "epochs": 30,
    "lr": 0.004,
    "validate_every": 40,
    "checkpoint": "last",
    "num_workers": 0,
    "precision": "bf16",
    "accelerator": "cpu",
}
CROPS_IN_AN_EPOCH = 96
FIRST_EPOCHS = 40
"""Of the first network: with fewer, steps and not micrographs would limit it."""


@dataclass(frozen=True)
class Data:
    """Where micrographs and binary masks are, and which are for the test."""

    images: Path
    masks: Path
    test: tuple[str, ...]
    others: tuple[str, ...]


def read_data(folder: Path, work: Path) -> Data:
    """Read the table and write the masks of the foreground into `work`."""
    from PIL import Image

    from microseg.micrographs.images import write_mask

    work.mkdir()
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        fold_of = {row["image_url"]: row["fold"] for row in csv.DictReader(file)}
    for name in fold_of:
        write_mask(work / name, np.asarray(Image.open(folder / "masks" / name)) == FOREGROUND)
    test = tuple(name for name, fold in fold_of.items() if fold in TEST_FOLDS)
    return Data(folder / "images", work, test, tuple(name for name in fold_of if name not in test))


class Model:
    """A network trained on the micrographs `names`."""

    def __init__(
        self,
        data: Data,
        names: Sequence[str],
        seed: int,
        work: Path,
        steps: float,
        start_from: "Model | None" = None,
    ) -> None:
        from microseg.common.params_file import read_params
        from microseg.network.devices import start
        from microseg.network.inputs import MaskedMicrographs
        from microseg.network.networks import build_network
        from microseg.network.sliding_window import WHOLE
        from microseg.training.loop import TrainingLoop
        from microseg.training.pixel_cache import PixelCache

        crops = max(1, round(CROPS_IN_AN_EPOCH * steps / len(names)))
        default = read_params(ROOT / "params.yaml").train
        settings = SETTINGS | {"crops_per_micrograph": crops} | ({} if start_from else {"epochs": FIRST_EPOCHS})
        self.params = default.model_validate(default.model_dump() | settings)
        self.data = data
        micrographs = MaskedMicrographs(data.images, data.masks, tuple(sorted(names)))
        cache = PixelCache(micrographs, work, self.params.downsample)
        # Nothing is chosen by the validation, which the loop does not do without.
        weights = start_from.network.state_dict() if start_from else {}
        loop = TrainingLoop(
            start("cpu", "bf16"), micrographs, micrographs, self.params, seed, cache, WHOLE, weights
        )
        for _ in loop.epochs(self.params.epochs, None):
            pass
        self.network = build_network(self.params)
        self.network.load_state_dict(loop.state().model("last")[0])
        self.network.eval()

    def logits(self, name: str) -> np.ndarray:
        """Return the logits of a micrograph."""
        import torch

        from microseg.micrographs.images import read_micrograph
        from microseg.network.inputs import network_input, upsample

        micrograph = read_micrograph(self.data.images / name)
        inputs = network_input(micrograph, self.params.input_normalization, factor=self.params.downsample)
        with torch.inference_mode():
            return upsample(self.network(inputs[None]), micrograph.shape)[0, 0].numpy()

    def measure(self, names: Sequence[str]) -> tuple[list[float], list[float]]:
        """Return the IoU of each of these micrographs, and how unsure the network is of it."""
        from microseg.evaluation.scores import calculate_iou
        from microseg.micrographs.images import read_mask
        from microseg.prediction.reliability import mean_entropy

        iou, uncertainty = [], []
        for name in names:
            logits = self.logits(name)
            iou.append(calculate_iou(read_mask(self.data.masks / name), logits > 0))
            uncertainty.append(mean_entropy(logits))
        return iou, uncertainty


def learning_curves(data: Data, seed: int, work: Path, steps: float) -> Iterator[tuple[object, ...]]:
    """Yield a row of COLUMNS for each order and number of micrographs corrected."""
    from microseg.evaluation.scores import rank_correlation

    shuffled = [str(name) for name in np.random.default_rng(seed).permutation(data.others)]
    begin = time.perf_counter()
    first = Model(data, shuffled[:FIRST], seed, work, steps)
    for order in ORDERS:
        model, known, rest = first, shuffled[:FIRST], shuffled[FIRST:]
        for corrected, following in zip(CORRECTED, (*CORRECTED[1:], None), strict=True):
            iou, uncertainty = model.measure(rest)
            score = float(np.mean(model.measure(data.test)[0]))
            seconds = round(time.perf_counter() - begin, 1)
            yield (seed, order, corrected, score, rank_correlation(uncertainty, iou), seconds)
            if following is None:
                break
            if order == "uncertain":
                rest = [rest[place] for place in np.argsort(uncertainty)[::-1]]
            if order != "none":
                count = following - corrected
                known, rest = known + rest[:count], rest[count:]
            begin = time.perf_counter()
            model = Model(data, known, seed + following, work, steps, model)


def plot(rows: Sequence[tuple[object, ...]], path: Path) -> None:
    """Draw the mean of the seeds of each order, and a point for each seed."""
    from matplotlib.figure import Figure

    from microseg.plotting import BLUE, COLUMN, COLUMN_DOTS_PER_INCH, SKY, VERMILION, column_style, save_figure

    with column_style():
        figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
        axes = figure.subplots()
        for (order, label), color, marker in zip(ORDERS.items(), (VERMILION, BLUE, SKY), "os^", strict=True):
            own = [row for row in rows if row[1] == order]
            numbers = sorted({row[2] for row in own})
            means = [np.mean([row[3] for row in own if row[2] == number]) for number in numbers]
            axes.plot(numbers, means, color=color, marker=marker, label=label)
            axes.scatter([row[2] for row in own], [row[3] for row in own], color=color, s=6, alpha=0.4)
        axes.set(xlabel="micrographs corrected", ylabel="mean IoU of the test micrographs")
        axes.legend()
    save_figure(figure, path, COLUMN_DOTS_PER_INCH)


def main() -> None:
    """Read the command line, train, and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the dataset")
    parser.add_argument("--steps", type=float, default=1.0, help="fraction of the training steps, to try it out")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "images" / "corrections.png")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        data = read_data(arguments.folder, Path(temporary) / "masks")
        for seed in arguments.seeds:
            for row in learning_curves(data, seed, Path(temporary) / "pixels", arguments.steps):
                rows.append(row)
                print(*row, flush=True)
    arguments.results.mkdir(parents=True, exist_ok=True)
    with (arguments.results / "corrections.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    plot(rows, arguments.figure)


if __name__ == "__main__":
    main()
