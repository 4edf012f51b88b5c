"""Test IoU on published folds of real micrographs at equal training time: ours, what others use, a threshold.

python benchmarks/real_steel.py FOLDER --foreground 1 --folds 0 1    # such as UHCS, in which 1 is the network
python benchmarks/real_steel.py FOLDER --foreground 1 --epochs 2 --results /tmp    # to try it

FOLDER has images, masks (label images) and a table metadata.csv with a column of folds. For each fold four ways
are trained in turn, on the training micrographs that the stage `split` draws, and tested on the same masks:

- ours: a preset, adapted to the number of micrographs as `microseg tune` adapts it, through the stages;
- smp: UNet++ on EfficientNet-Lite0 with ImageNet weights from segmentation_models_pytorch, trained as by Stuckner,
  Harder and Smith (npj Computational Materials 8:200, 2022; their package pretrained-microscopy-models) for the
  seconds that ours took. Batches of six random crops of 512 pixels; flips, quarter turns, noise, brightness and
  contrast, blur or sharpening; Adam at 2e-4, down to 1e-5 in the last quarter of the time; 0.7 of the binary
  cross-entropy and 0.3 of the Dice loss. Grey values are repeated for the three channels and normalized as in the
  pre-training. Precision and memory format are those with the fastest step;
- study: presets/study.yaml through the stages, for as many epochs as fit into those seconds;
- threshold: one grey value, 0 to 255, and one side of it for all micrographs, those with the highest mean IoU on
  the training micrographs.

The seconds are those of steps and validations, without the start of programs; smp does not validate. Each way has
two threads, and the trained ones a process that reads ahead. There are up to three kinds of masks: `plain` ones
(probability above one half, or the threshold), `morphology` (opened and closed with the radii of params.yaml, of
ours with those that tune chooses; the stages choose their threshold on the validation micrographs) and, of smp,
`d4` (plain, from the mean logits of all flips and quarter turns, as of ours where its preset sets predict.tta).
"""

import argparse
import copy
import itertools
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2  # type: ignore[import-untyped]
from torchvision.tv_tensors import Image, Mask  # type: ignore[import-untyped]

from microseg.common.errors import InputError
from microseg.common.files import HOME_VARIABLE, write_csv
from microseg.common.params import Params
from microseg.common.params_file import read_params, read_yaml
from microseg.evaluation.scores import score
from microseg.experiments.settings import read_preset
from microseg.experiments.survey import survey
from microseg.experiments.tuning import IMAGES, MASKS, SPLIT, read_candidate
from microseg.micrographs.images import read_mask, read_micrograph
from microseg.network.initial_weights import load_encoder
from microseg.network.model_card import WEIGHTS_FILE, Pretraining, read_weights_origin
from microseg.network.sliding_window import WHOLE
from microseg.network.unet import crop_padding, pad_to_multiple
from microseg.prediction.inference import PREDICTIONS
from microseg.prediction.postprocessing import binary_closing, binary_opening
from microseg.splits import TEST, TRAIN, images_of, read_split

ROOT = Path(__file__).parents[1]
THREADS = 2
ENCODER = "timm-tf_efficientnet_lite0"
CROP, BATCH, SIZE_MULTIPLE = 512, 6, 32
LR, LAST_LR, DECAY_FROM = 2e-4, 1e-5, 0.75
Masks = Iterator[tuple[str, str, NDArray[np.bool_]]]
"""Kind of masks, name and mask of each test micrograph."""


@dataclass(frozen=True)
class Row:
    """A test micrograph of a fold, as one way segments it."""

    fold: int
    way: str
    masks: str
    micrograph: str
    intersection: int
    union: int
    iou: float
    steps: int
    seconds: float


class Project:
    """The stages of dvc.yaml, run in a folder of their own on one fold."""

    def __init__(self, work: Path, data: Path, foreground: Sequence[str], column: str, fold: int) -> None:
        self.work = work
        (work / "data" / "weights").mkdir(parents=True)
        (work / "stages").symlink_to(ROOT / "stages")
        self.given: dict[str, object] = {
            "download.source": "folder",
            "download.path": str(data.resolve()),
            "download.foreground": list(foreground),
            "split.fold_column": column,
            "split.fold": fold,
            "train.accelerator": "cpu",
        }
        self.run({}, "download", "parse_csv", "rasterize_masks", "split")
        rows = read_split(work / SPLIT)
        self.training, self.test = images_of(rows, TRAIN), images_of(rows, TEST)

    def run(self, settings: Mapping[str, object], *stages: str) -> Params:
        """Run stages with settings of params.yaml changed, and return the parameters."""
        params = read_params(ROOT / "params.yaml", self.given | dict(settings))
        # JSON is YAML too.
        (self.work / "params.yaml").write_text(params.model_dump_json(), encoding="utf-8")
        pipeline: Any = read_yaml(ROOT / "dvc.yaml", "not there")
        # A home of its own: no checkpoint of an earlier run saves time.
        home = {HOME_VARIABLE: str(self.work / "home"), "OMP_NUM_THREADS": str(THREADS)}
        for stage in stages:
            command = pipeline["stages"][stage]["cmd"].replace("${download.path}", params.download.path)
            words = [sys.executable, *shlex.split(command)[1:]]
            subprocess.run(words, cwd=self.work, env=os.environ | home, check=True)
        return params

    def train(self, settings: Mapping[str, object]) -> tuple[int, dict[str, Any]]:
        """Train with the stages, and return the number of steps and reports/training.json."""
        train = self.run(settings, "encoder_weights", "train").train
        report: dict[str, Any] = json.loads((self.work / "reports" / "training.json").read_text())
        crops = len(self.training) * (train.crops_per_micrograph if train.crop_size is not None else 1)
        return report["epochs"] * math.ceil(crops / (train.batch_size * train.accumulate_grad_batches)), report

    def masks(self, settings: Mapping[str, object]) -> Masks:
        """Yield the masks that the trained network predicts."""
        self.run(settings, "predict", "postprocess")
        for kind, folder in (("plain", "sigmoid"), ("morphology", "morphology")):
            for name in self.test:
                yield kind, name, read_mask(self.work / "data" / "predictions" / folder / name)


def adapted(project: Project, preset: Path, epochs: int | None) -> dict[str, object]:
    """Return the settings of a preset as `microseg tune` adapts them to the micrographs."""
    params = ROOT / "params.yaml"
    images, masks, split = (project.work / path for path in (IMAGES, MASKS, SPLIT))
    found = survey(images, masks, split, read_params(params))
    candidate = read_candidate(preset, found, params)
    if isinstance(candidate, str):
        raise InputError(f"{preset}: {candidate}")
    return {**candidate.settings, **({"train.epochs": epochs} if epochs else {})}


def train_within(project: Project, preset: Path, seconds: float) -> tuple[int, dict[str, Any], dict[str, object]]:
    """Train a preset whose learning rate is constant for as many epochs as fit; return its settings too."""
    settings = read_preset(preset) | {"train.epochs": 1, "train.validate_every": 1_000_000}
    _, first = project.train(settings)
    validation = first["seconds"] * first["validation_fraction"]
    epochs = max(1, int((seconds - validation) / (first["seconds"] - validation)))
    settings["train.epochs"] = epochs  # this training continues the one of one epoch
    return *project.train(settings), settings


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Random augmented crops, one for each micrograph, of grey values 0 to 1 and masks."""

    def __init__(self, images: Path, masks: Path, names: Sequence[str]) -> None:
        self.pixels = [(read_micrograph(images / name), read_mask(masks / name)) for name in names]
        # What the authors use of albumentations, as torchvision has it.
        blur_or_sharp = v2.RandomChoice([v2.GaussianBlur(3), v2.RandomAdjustSharpness(2, p=1)])
        self.augment = v2.Compose(
            [
                v2.RandomCrop(CROP, pad_if_needed=True, padding_mode="reflect"),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
                v2.RandomApply([v2.GaussianNoise(sigma=0.02)], p=0.5),
                v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], p=0.3),
                v2.RandomApply([blur_or_sharp], p=0.3),
            ]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        micrograph, mask = (torch.from_numpy(pixels.copy())[None] for pixels in self.pixels[index])
        both = self.augment(Image(micrograph.float() / 255), Mask(mask))
        turns = int(torch.randint(4, ()))
        grey, target = (torch.rot90(torch.as_tensor(one), turns, (-2, -1)) for one in both)
        return grey, target.float()


class SmpNetwork(nn.Module):
    """UNet++ of segmentation_models_pytorch for grey values 0 to 1, (batch, 1, height, width), of any size."""

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path, pretraining: Pretraining) -> None:
        import segmentation_models_pytorch as smp

        super().__init__()
        # What encoder_weights="imagenet" downloads, from a package that is installed.
        self.model = smp.UnetPlusPlus(ENCODER, encoder_weights=None, in_channels=3, classes=1)
        load_encoder(self.model.encoder, weights, ENCODER)
        self.register_buffer("mean", torch.tensor(pretraining.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(pretraining.std)[:, None, None])

    def forward(self, grey: Tensor) -> Tensor:
        """Return logits of the same shape."""
        channels = (pad_to_multiple(grey, SIZE_MULTIPLE) - self.mean) / self.std
        return crop_padding(self.model(channels), grey, SIZE_MULTIPLE)


class Numeric(NamedTuple):
    """How a network computes."""

    dtype: torch.dtype
    memory_format: torch.memory_format

    def autocast(self) -> torch.autocast:
        """Return the context for it."""
        return torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32)


class Smp:
    """A training of the network by a plain loop."""

    def __init__(self, project: Project) -> None:
        import segmentation_models_pytorch as smp

        project.run({"train.encoder": ENCODER, "train.encoder_weights": "imagenet"}, "encoder_weights")
        folder = project.work / "data" / "encoder_weights"
        torch.manual_seed(1)
        self.project = project
        self.network = SmpNetwork(folder / WEIGHTS_FILE, read_weights_origin(folder).pretraining)
        self.losses = (smp.losses.SoftBCEWithLogitsLoss(), smp.losses.DiceLoss("binary", from_logits=True))
        crops = Crops(project.work / IMAGES, project.work / MASKS, project.training)
        self.loader = DataLoader(crops, BATCH, shuffle=True, num_workers=1, persistent_workers=True)
        self.numeric = self._fastest()
        print(f"smp: {self.numeric}", flush=True)
        self.network.to(memory_format=self.numeric.memory_format)

    def _fastest(self) -> Numeric:
        """Return the precision and the memory format with the fastest step, tried on copies."""
        grey, mask = next(iter(self.loader))

        def seconds(numeric: Numeric) -> float:
            network = copy.deepcopy(self.network).to(memory_format=numeric.memory_format)
            times = []
            for _ in range(2):
                begin = time.perf_counter()
                torch.autograd.backward(self._loss(network, grey, mask, numeric))
                times.append(time.perf_counter() - begin)
            return min(times)

        types, formats = (torch.float32, torch.bfloat16), (torch.contiguous_format, torch.channels_last)
        return min(itertools.starmap(Numeric, itertools.product(types, formats)), key=seconds)

    def _loss(self, network: nn.Module, grey: Tensor, mask: Tensor, numeric: Numeric) -> Tensor:
        with numeric.autocast():
            logits = network(grey.contiguous(memory_format=numeric.memory_format)).float()
        cross_entropy, dice = (loss(logits, mask) for loss in self.losses)
        total: Tensor = 0.7 * cross_entropy + 0.3 * dice
        return total

    def train(self, seconds: float) -> tuple[int, float]:
        """Train for as long, and return the number of steps and the seconds they took."""
        adam = torch.optim.Adam(self.network.parameters(), lr=LR)
        begin = time.perf_counter()
        for steps, (grey, mask) in enumerate(itertools.chain.from_iterable(itertools.repeat(self.loader))):
            passed = time.perf_counter() - begin
            if passed >= seconds:
                return steps, passed
            decayed = max(0.0, (passed / seconds - DECAY_FROM) / (1 - DECAY_FROM))
            adam.param_groups[0]["lr"] = LR + decayed * (LAST_LR - LR)
            adam.zero_grad()
            torch.autograd.backward(self._loss(self.network, grey, mask, self.numeric))
            adam.step()
        raise AssertionError("the loader is repeated without end")

    def masks(self) -> Masks:
        """Yield the masks that the trained network predicts."""
        self.network.eval()
        for name in self.project.test:
            micrograph = read_micrograph(self.project.work / IMAGES / name)
            grey = torch.from_numpy(micrograph.copy())[None, None].float() / 255
            for kind, tta in (("plain", "none"), ("d4", "d4")):
                with self.numeric.autocast():
                    logits = PREDICTIONS[tta](self.network, grey, WHOLE)
                yield kind, name, (logits[0, 0] > 0).numpy()


def threshold_masks(project: Project) -> Masks:
    """Yield the masks of the best threshold of grey."""
    images, masks = project.work / IMAGES, project.work / MASKS
    curves = []
    for name in project.training:
        micrograph, mask = read_micrograph(images / name), read_mask(masks / name)
        counts = [np.bincount(micrograph[part], minlength=256) for part in (mask, ~mask)]
        found, wrong = np.cumsum([(one, one[::-1]) for one in counts], axis=-1)  # dark and bright sides
        union = mask.sum() + wrong
        curves.append(np.where(union, found / np.maximum(union, 1), 1.0))
    side, number = np.unravel_index(np.mean(curves, axis=0).argmax(), (2, 256))
    print(f"threshold: foreground is {f'>= {255 - number}' if side else f'<= {number}'}", flush=True)
    params = read_params(ROOT / "params.yaml").postprocess
    for name in project.test:
        micrograph = read_micrograph(images / name)
        mask = micrograph >= 255 - number if side else micrograph <= number
        yield "plain", name, mask
        opened = binary_opening(mask, params.opening_radius)
        yield "morphology", name, binary_closing(opened, params.closing_radius)


def run_fold(project: Project, preset: Path, epochs: int | None, fold: int) -> Iterator[Row]:
    """Train and test all ways on a fold."""

    def rows(way: str, masks: Masks, steps: int = 0, seconds: float = 0.0) -> Iterator[Row]:
        for kind, name, mask in masks:
            found = score(read_mask(project.work / MASKS / name), mask)
            counts = (found.true_positives, found.union)
            yield Row(fold, way, kind, name, *counts, found.iou, steps, round(seconds, 1))

    settings = adapted(project, preset, epochs)
    steps, report = project.train(settings)
    budget = report["seconds"]
    yield from rows("ours", project.masks(settings), steps, budget)
    smp = Smp(project)
    steps, seconds = smp.train(budget)
    yield from rows("smp", smp.masks(), steps, seconds)
    del smp  # its memory is the next way's
    steps, report, settings = train_within(project, ROOT / "presets" / "study.yaml", budget)
    yield from rows("study", project.masks(settings), steps, report["seconds"])
    yield from rows("threshold", threshold_masks(project))


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Return mean and pooled IoU of each way and kind of masks on each fold, and the means over the folds."""
    header = ["way", "masks", "fold", "mean IoU", "pooled IoU", "steps", "seconds"]
    lines = [header, ["---"] * len(header)]
    for way, kind in dict.fromkeys((row.way, row.masks) for row in rows):
        own = [row for row in rows if (row.way, row.masks) == (way, kind)]
        measured = dict[str, tuple[float, ...]]()
        for fold in dict.fromkeys(row.fold for row in own):
            tested = [row for row in own if row.fold == fold]
            pooled = sum(row.intersection for row in tested) / max(1, sum(row.union for row in tested))
            mean = fmean(row.iou for row in tested)
            measured[str(fold)] = (mean, pooled, tested[0].steps, tested[0].seconds)
        measured["mean"] = tuple(fmean(column) for column in zip(*measured.values(), strict=True))
        for fold_name, (mean, pooled, steps, seconds) in measured.items():
            numbers = (f"{mean:.3f}", f"{pooled:.3f}", f"{steps:.0f}", f"{seconds:.0f}")
            lines.append([way, kind, fold_name, *numbers])
    return lines


def main() -> None:
    """Read the command line, and write the tables anew after each fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images, masks and metadata.csv")
    parser.add_argument("--foreground", nargs="+", required=True, help="values in the masks that are foreground")
    parser.add_argument("--column", default="fold", help="of metadata.csv (default: %(default)s)")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="to test (default: the first one, 0)")
    parser.add_argument("--preset", type=Path, default=ROOT / "presets" / "candidates" / "unet_full.yaml")
    parser.add_argument("--epochs", type=int, help="of the preset, fewer than it has to try it out, 2 at least")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    name = f"real_steel_{arguments.folder.resolve().name}_{'_'.join(arguments.foreground)}"
    rows: list[Row] = []
    for fold in arguments.folds:
        with tempfile.TemporaryDirectory() as work:
            project = Project(Path(work), arguments.folder, arguments.foreground, arguments.column, fold)
            rows += run_fold(project, arguments.preset, arguments.epochs, fold)
        lines = table(rows)
        arguments.results.mkdir(parents=True, exist_ok=True)
        write_csv(arguments.results / f"{name}.csv", [field.name for field in fields(Row)], map(astuple, rows))
        text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        (arguments.results / f"{name}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


if __name__ == "__main__":
    main()
