"""The figures and the tables that a training leaves."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from microseg.common.files import output_file
from microseg.network.card import Provenance
from microseg.training.history import EpochRecord, Validation

TRAINING_COLUMNS = ("epoch", "train_loss", "lr", "seconds")
VALIDATION_COLUMNS = ("epoch", "validation_loss", "validation_iou", "predicted_foreground")


def write_tables(training: Path, validation: Path, records: Sequence[EpochRecord]) -> None:
    """Write one line an epoch into `training`, and into `validation` one for each epoch that was validated.

    Two tables, because curves break at empty cells: single points between them would not be drawn at all.
    """
    import pandas as pd  # half a second that only the end of a training needs

    epochs = pd.json_normalize([asdict(record) for record in records], sep="_")
    validated = epochs.dropna(subset="validation_loss").rename(
        columns={"validation_predicted_foreground": "predicted_foreground"}
    )
    tables = ((training, epochs[[*TRAINING_COLUMNS]]), (validation, validated[[*VALIDATION_COLUMNS]]))
    for path, table in tables:
        with output_file(path) as partial:
            table.to_csv(partial, index=False, lineterminator="\n")


def total_seconds(records: Sequence[EpochRecord]) -> float:
    """Return the wall time of all epochs, validation included."""
    return math.fsum(record.seconds + record.validation_seconds for record in records)


def waiting_share(records: Sequence[EpochRecord]) -> float:
    """Return the share of the wall time in which the training stood still because no batch was ready; 0 to 1."""
    return math.fsum(record.waiting_seconds for record in records) / total_seconds(records)


def validating_share(records: Sequence[EpochRecord]) -> float:
    """Return the share of the wall time that went into validation; 0 to 1."""
    return math.fsum(record.validation_seconds for record in records) / total_seconds(records)


def training_metrics(
    records: Sequence[EpochRecord], kept: EpochRecord, measured: Validation, used: Provenance
) -> dict[str, Any]:
    """Return the figures of metrics/train.json; `kept` is the epoch whose weights became the model."""
    return {
        "epochs": records[-1].epoch,
        "model_epoch": kept.epoch,
        "validation_iou": measured.iou,
        "validation_loss": measured.loss,
        "train_loss": kept.train_loss,
        "predicted_foreground": measured.predicted_foreground,
        "seconds": total_seconds(records),
        "waiting_for_data": waiting_share(records),
        "validating": validating_share(records),
        "computed_with": asdict(used),
    }
