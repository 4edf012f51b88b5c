"""What a training writes beside its model: curves while it runs, its first crops, and its metrics at the end."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microseg.common.files import output_file
from microseg.network.memory import peak_memory_gb
from microseg.network.model_card import Environment
from microseg.plotting import plain, save_figure
from microseg.training.data import Sample
from microseg.training.records import EpochRecord, Validation

TRAINING_COLUMNS = ("epoch", "train_loss", "lr", "seconds")
VALIDATION_COLUMNS = ("epoch", "validation_loss", "validation_iou", "predicted_foreground")

CROPS_SHOWN, CROPS_IN_A_ROW = 8, 4
"""How many of the first training crops are drawn."""


@dataclass(frozen=True)
class TrainingOutputs:
    """The tables of epochs and of validated epochs, and the picture of the first crops, that a training writes."""

    history: Path
    validation: Path
    crops: Path

    def write_curves(self, records: Sequence[EpochRecord]) -> None:
        """Write the curves so far: one line an epoch, and one line for each epoch that was validated.

        Two tables, because curves break at empty cells: single points between them would not be drawn at all.
        """
        import pandas as pd  # half a second

        epochs = pd.json_normalize([asdict(record) for record in records], sep="_")
        validated = epochs.dropna(subset="validation_loss").rename(
            columns={"validation_predicted_foreground": "predicted_foreground"}
        )
        tables = ((self.history, epochs[[*TRAINING_COLUMNS]]), (self.validation, validated[[*VALIDATION_COLUMNS]]))
        for path, table in tables:
            with output_file(path) as partial:
                table.to_csv(partial, index=False, lineterminator="\n")

    def write_crops(self, samples: Sequence[Sample]) -> None:
        """Draw the first crops as the network sees them, with their masks."""
        with output_file(self.crops) as partial:
            save_figure(plot_crops(samples), partial)


def plot_crops(samples: Sequence[Sample]) -> Figure:
    """Show crops as the network sees them, downsampled, augmented and normalized, each above its mask.

    All crops share one grey scale, from the 0.5th to the 99.5th percentile of their values.
    """
    columns = min(CROPS_IN_A_ROW, len(samples))
    rows = -(-len(samples) // columns)
    crops = [sample.micrograph[0].numpy() for sample in samples]
    low, high = np.percentile(np.concatenate([crop.ravel() for crop in crops]), (0.5, 99.5))
    height, width = crops[0].shape
    figure = Figure(figsize=(2.6 * columns, 0.7 + 5.5 * rows * height / width), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for unused in axes.flat:
        unused.set_axis_off()
    for number, (sample, crop) in enumerate(zip(samples, crops, strict=True)):
        row, column = divmod(number, columns)
        foreground = sample.mask[0].numpy().astype(np.float32)
        _show(axes[2 * row, column], crop, sample.name, float(low), float(high))
        _show(axes[2 * row + 1, column], foreground, f"mask, {foreground.mean():.1%} foreground", 0.0, 1.0)
    figure.suptitle(
        f"First training crops, {width} x {height} pixels, grey values {low:.2f} (black) to {high:.2f}"
    )
    return figure


def _show(axes: Axes, values: "np.ndarray[Any, Any]", title: str, low: float, high: float) -> None:
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
    axes.set_title(plain(title), fontsize=8)


def training_metrics(measured: Validation) -> dict[str, float]:
    """Return metrics/train.json, few enough for a terminal: the mean IoU on the validation micrographs."""
    return {"validation_iou": measured.iou}


def training_report(
    records: Sequence[EpochRecord],
    saved: EpochRecord,
    measured: Validation,
    used: Environment,
    device: torch.device,
) -> dict[str, Any]:
    """Return reports/training.json; `saved` is the epoch whose weights became the model."""
    total = math.fsum(record.seconds + record.validation_seconds for record in records)
    return {
        "epochs": records[-1].epoch,
        "model_epoch": saved.epoch,
        "train_loss": saved.train_loss,
        "validation_loss": measured.loss,
        "validation_iou": measured.iou,
        "predicted_foreground": measured.predicted_foreground,
        "seconds": total,
        "waiting_fraction": waiting_fraction(records),
        "validation_fraction": math.fsum(record.validation_seconds for record in records) / total,
        "peak_memory_gb": peak_memory_gb(device),
        "environment": asdict(used),
    }


def waiting_fraction(records: Sequence[EpochRecord]) -> float:
    """Return the fraction of the wall time, with validation, in which the device waited for a batch; 0 to 1."""
    waiting = math.fsum(record.waiting_seconds for record in records)
    return waiting / math.fsum(record.seconds + record.validation_seconds for record in records)
