"""Where a model comes from: a folder, or a revision of a repository; and what its evaluation found."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from microseg.common.errors import InputError

MODEL, EVALUATION, EVALUATION_FILE = "models", "metrics/evaluation.json", "evaluation.json"
"""Where a project of this pipeline has its model and the metrics of it, and their name in a model's folder."""

# How a project's evaluation follows from its model: each stage, and its dependency on the one before.
CHAIN = (("predict", "models"), ("postprocess", "data/logits"), ("evaluate", "data/predictions"))


@contextmanager
def opened_model(source: str) -> Iterator[Path]:
    """Yield the folder of a model, with its evaluation in it if that is known.

    Args:
        source: a folder, or `URL#revision` of a Git repository of this pipeline, whose model is fetched with DVC.

    Raises:
        InputError: there is no such folder, or nothing can be fetched from there.
    """
    if Path(source).is_dir():
        yield Path(source)
        return
    url, mark, revision = source.rpartition("#")
    if not mark or not url or not revision:
        raise InputError(
            f"--model {source}: no such folder; give a model's folder, or URL#revision of a repository"
        )
    with tempfile.TemporaryDirectory(prefix="microseg-model-") as temporary:
        folder = Path(temporary) / "model"
        done = _dvc("get", url, MODEL, "--rev", revision, "--out", str(folder))
        if done.returncode or not folder.is_dir():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1].removeprefix("ERROR: ")
            raise InputError(f"--model {source}: DVC cannot fetch {MODEL} from there: {reason}")
        # A revision that was never evaluated has no such file, which the report then says.
        _dvc("get", url, EVALUATION, "--rev", revision, "--out", str(folder / EVALUATION_FILE))
        yield folder


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """Return the metrics of the evaluation of the model in a folder, or None where they are not known.

    They lie beside the weights; or, where the folder is the one in a project of this pipeline, in its metrics, if
    dvc.lock says that these follow from this very model.

    Raises:
        InputError: there is such a file, but it is not JSON.
    """
    path = folder / EVALUATION_FILE
    if not path.is_file():
        project = folder.resolve().parent
        path = project / EVALUATION
        if not path.is_file() or not _follows_from_model(project, folder):
            return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); rerun the stage evaluate or remove the file") from error
    return content


def _dvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)


def _follows_from_model(project: Path, folder: Path) -> bool:
    try:
        stages = YAML(typ="safe", pure=True).load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"]
        expected = _folder_md5(folder)
        for stage, dependency in CHAIN:
            if _md5_of(stages[stage]["deps"], dependency) != expected:
                return False
            expected = _md5_of(stages[stage]["outs"])
        return expected == _md5((project / EVALUATION).read_bytes())
    except (OSError, KeyError, TypeError, StopIteration):
        return False


def _md5_of(entries: list[dict[str, str]], path: str | None = None) -> str:
    """Return what dvc.lock notes of a path; without one that of the evaluation, or of the only output."""
    wanted = (path,) if path else (EVALUATION, "data/logits", "data/predictions")
    return next(entry["md5"] for entry in entries if entry["path"] in wanted)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _folder_md5(folder: Path) -> str:
    """Return the digest by which DVC knows the content of a folder."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    listing = [{"md5": _md5(path.read_bytes()), "relpath": name} for name, path in files]
    return _md5(json.dumps(listing).encode()) + ".dir"
