"""Weights of one's own: a file, or the folder of a trained model, in the folder of the project for them.

Anywhere else, or kept by nobody, they would be missing where a colleague, or an experiment in a copy of the
project, starts from them.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.common.params_mistakes import nearest
from microseg.sources.kept_folder import is_kept

KEY = "params.yaml: train.encoder_weights"


def kept_path(value: str, own: Path, words: Sequence[str]) -> Path:
    """Return the path of the file or model that `value` names.

    Args:
        value: the value of train.encoder_weights.
        own: the folder for weights of one's own, relative to the project.
        words: what else the value might have been meant to be.

    Raises:
        InputError: there is nothing there, it lies outside of `own`, neither DVC nor git keeps it, or it is a
            folder without a model.
    """
    path = Path(value)
    if not path.exists():
        raise InputError(f"{KEY}: {_what_is_missing(value, own, words)}")
    inside = own / path.resolve().name
    # The folder is resolved and not the path, which may be a link into the cache of DVC.
    if own.resolve() not in (path.parent.resolve() / path.name).parents:
        raise InputError(
            f"{KEY}: {value} lies outside of {own.as_posix()}, so that a colleague could not get it; type: "
            f"dvc add {value} --out {inside.as_posix()} and set the parameter to {inside.as_posix()}"
        )
    if not is_kept(path):
        raise InputError(
            f"{KEY}: neither DVC nor git keeps {value}, so that a colleague could not get it; type: "
            f"dvc add {value} and start again"
        )
    if path.is_dir() and not any(path.glob("*.json")):
        raise InputError(f"{KEY}: {value} holds no model card; give a file, or the folder of a trained model")
    return path


def _what_is_missing(value: str, own: Path, words: Sequence[str]) -> str:
    if Path(f"{value}.dvc").is_file():
        return f"{value} is not here, but DVC keeps it; type: dvc pull {value}"
    kept = [path.with_suffix("") if path.suffix == ".dvc" else path for path in own.glob("*")]
    meant = nearest(value, [*words, *sorted({path.as_posix() for path in kept})])
    return (
        f"{value!r} is neither one of {', '.join(words)} nor a file or folder that there is; did you mean {meant}?"
    )


def model_digest(folder: Path) -> str:
    """Return the SHA-256 digest of the list of a folder's files, sorted by name, as sha256sum prints it."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listing = "".join(f"{file_digest(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(listing.encode()).hexdigest()
