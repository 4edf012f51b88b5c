"""Which files of pre-trained encoders there are to choose from: the table encoder_files.csv.

Encoders bear the names that segmentation_models_pytorch gives them, and their weights from ImageNet are those that
it pins; those of one encoder come with a package instead, and need no network. Encoders trained on micrographs are
from Stuckner, Harder and Smith: Microstructure segmentation with deep learning encoders pre-trained on a large
microscopy dataset. npj Computational Materials 8:200 (2022), doi 10.1038/s41524-022-00878-5; in the versions that
their own program takes.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from microseg.common.errors import InputError
from microseg.common.params_mistakes import nearest

Pretraining = Literal["imagenet", "micronet", "imagenet-micronet"]
PRETRAININGS: tuple[Pretraining, ...] = get_args(Pretraining)
"""What encoders were trained on: photographs, micrographs, or the one after the other."""

TABLE = Path(__file__).with_name("encoder_files.csv")


@dataclass(frozen=True)
class EncoderFile:
    """A published file of weights."""

    weights: Pretraining
    encoder: str
    name: str
    version: str
    size: int | None
    sha256: str | None
    """Size in bytes and digest (hexadecimal); None where the publisher does not say."""
    licence: str
    address: str | None
    """None for the file that a package brings along."""


def encoder_file(weights: str, encoder: str) -> EncoderFile:
    """Return the file with the weights of an encoder.

    Raises:
        InputError: there is none.
    """
    files = {file.encoder: file for file in _files() if file.weights == weights}
    if encoder not in files:
        raise InputError(
            f"params.yaml: train.encoder_weights: there are no {weights} weights for the encoder {encoder!r}; "
            f"did you mean {nearest(encoder, list(files))}? There are some for {', '.join(files)}"
        )
    return files[encoder]


def _files() -> list[EncoderFile]:
    with TABLE.open(newline="", encoding="utf-8") as table:
        return [
            EncoderFile(
                weights=next(word for word in PRETRAININGS if word == row["weights"]),
                encoder=row["encoder"],
                name=row["name"],
                version=row["version"],
                size=int(row["bytes"]) if row["bytes"] else None,
                sha256=row["sha256"] or None,
                licence=row["licence"],
                address=row["address"] or None,
            )
            for row in csv.DictReader(table)
        ]
