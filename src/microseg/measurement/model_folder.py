"""Where a model comes from: a folder, or a revision of a repository; and what its evaluation found."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from microseg.common.errors import InputError
from microseg.network.card import origin, read_card

MODEL, EVALUATION, EVALUATION_FILE = "models", "metrics/evaluation.json", "evaluation.json"
"""Where a project of this pipeline has its model and the metrics of it, and their name in a model's folder."""


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

    They lie beside the weights; or, where the folder is the one in a project of this pipeline, among its metrics.
    Metrics that name other weights, or none, are those of another model.

    Raises:
        InputError: there is such a file, but it is not JSON; or the folder has no model card.
    """
    weights = origin(read_card(folder))["weights"]
    for path in (folder / EVALUATION_FILE, folder.resolve().parent / EVALUATION):
        if path.is_file():
            try:
                content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                measured = content["model"]["weights"]
            except ValueError as error:
                raise InputError(f"{path}: not JSON ({error}); rerun the stage evaluate or remove it") from error
            except (KeyError, TypeError):
                continue
            if measured == weights:
                return content
    return None


def _dvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
