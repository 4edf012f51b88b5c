"""A dataset of a few small micrographs, and parameters to train on it in a second or two."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from microseg.common.files import write_csv
from microseg.common.params import TrainParams
from microseg.common.params_file import read_params
from microseg.micrographs.images import write_mask, write_micrograph
from microseg.network.devices import start
from microseg.network.inputs import MaskedMicrographs
from microseg.training.records import TrainingState
from microseg.training.train import train

ROOT = Path(__file__).parents[2]

# Networks this small are faster on one thread, and much faster where something else runs beside the tests.
torch.set_num_threads(1)


def write_blobs(folder: Path, count: int = 8, height: int = 64, width: int = 64) -> list[str]:
    """Write bright blobs on a noisy ground into folder/images and their masks into folder/masks."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:height, :width]
    names = [f"IMG_{number:05d}.png" for number in range(1, count + 1)]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name in names:
        mask = np.zeros((height, width), dtype=bool)
        for _ in range(3):
            row, column, radius = random.integers(0, height), random.integers(0, width), random.integers(4, 10)
            mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        grey = 90 + 70 * mask + random.normal(0, 10, mask.shape)
        write_micrograph(folder / "images" / name, grey.clip(0, 255).astype(np.uint8))
        write_mask(folder / "masks" / name, mask)
    return names


def write_split_of(folder: Path, names: list[str]) -> None:
    """Write folder/split.csv: the last two micrographs are for testing, the two before them for validation."""
    parts = ["train"] * (len(names) - 4) + ["validation"] * 2 + ["test"] * 2
    write_csv(
        folder / "split.csv", ("image", "split", "group"), ((*pair, "") for pair in zip(names, parts, strict=True))
    )


def blobs(folder: Path, names: Sequence[str]) -> MaskedMicrographs:
    return MaskedMicrographs(folder / "images", folder / "masks", tuple(names))


SMALL_ENCODER = "tu-mobilenetv3_small_050"
"""The smallest encoder that there is: 0.3 million weights."""

TINY = {
    "base_channels": 2,
    "norm_layer": "none",
    "lr": 0.001,
    "schedule": "constant",
    "warmup_epochs": 0,
    "epochs": 3,
    "downsample": 1,
    "crop_size": 32,
    "crops_per_micrograph": 2,
    "batch_size": 4,
    "checkpoint_epochs": [],
    "validate_every": 1,
    "precision": "float32",
    "num_workers": 0,
    "accelerator": "cpu",
}


NO_AUGMENTATION = {
    "flips": "none",
    "brightness": 0.0,
    "contrast": 0.0,
    "noise_std": 0.0,
    "blur_sigma": 0.0,
    "gamma": 0.0,
    "scale_jitter": 0.0,
    "random_erasing": 0.0,
}
"""Crops are shown as they are."""


def tiny_params(**changes: object) -> TrainParams:
    """Return the parameters of the project with those of TINY and `changes` put in, checked."""
    params = read_params(ROOT / "params.yaml").train
    return TrainParams.model_validate(params.model_dump() | TINY | changes)


def tiny_train(
    folder: Path, checkpoints: Path, seed: int = 1, encoder_weights: Path | None = None, **changes: object
) -> TrainingState:
    """Train on the micrographs that `write_blobs` wrote into `folder`: the last two of them are for validation."""
    names = sorted(path.name for path in (folder / "images").iterdir())
    params = tiny_params(**changes | ({"encoder_weights": "data/weights/mine"} if encoder_weights else {}))
    fabric = start(params.accelerator, params.precision)
    training, validation = blobs(folder, names[:-2]), blobs(folder, names[-2:])
    return train(
        fabric,
        training,
        validation,
        params,
        seed,
        checkpoints,
        folder / "pixels",
        encoder_weights=encoder_weights,
    )


def assert_same(first: TrainingState, second: TrainingState) -> None:
    """Assert that two states agree in every bit but the wall times."""
    timeless = [
        [replace(record, seconds=0.0, waiting_seconds=0.0, validation_seconds=0.0) for record in state.records]
        for state in (first, second)
    ]
    assert timeless[0] == timeless[1]
    for name in first.weights:
        assert torch.equal(first.weights[name], second.weights[name]), name
    assert first.best_weights.keys() == second.best_weights.keys()
    for name in first.best_weights:
        assert torch.equal(first.best_weights[name], second.best_weights[name]), name
    for number, averages in first.optimizer["state"].items():
        for name, values in averages.items():
            assert torch.equal(values, second.optimizer["state"][number][name]), (number, name)
