"""The model that segments: where it comes from, its evaluation, and whether micrographs resemble its training.

A difference from the training micrographs is evidence; likeness proves nothing.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from microseg.common.errors import InputError
from microseg.network.image_statistics import ENTROPY, QUANTITIES, ImageStatistics
from microseg.network.model_card import model_identity, read_card

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
    weights = model_identity(read_card(folder))["weights"]
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


PIXEL_SIZE_TOLERANCE = 0.25
"""Micrographs whose pixel size differs from that of the training by a larger share are refused."""
MARGIN = 0.25
"""By how much of its own width the range of the training micrographs is widened on either side."""


def scale_factor(model_um: float | None, image: str, pixel_size_um: float | None, *, resample: bool) -> float:
    """Return by how much a micrograph is enlarged before the network sees it; 1 leaves it as it is.

    Args:
        model_um: side of a pixel of the training micrographs in micrometres, where it is known.
        image: the name of the micrograph.
        pixel_size_um: side of a pixel of the micrograph in micrometres, where it is known.
        resample: whether it is brought to the pixel size of the training.

    Raises:
        InputError: the pixel sizes differ by more than a quarter, and it is not to be resampled; or it is, but one
            of the two is not known.
    """
    if model_um is None or pixel_size_um is None:
        if resample:
            what = "the model's folder names no pixel size" if model_um is None else f"{image} has no pixel size"
            raise InputError(f"--resample: {what}, so that there is nothing to resample to; leave it out")
        return 1.0
    factor = pixel_size_um / model_um
    if resample:
        return factor
    if not 1 - PIXEL_SIZE_TOLERANCE <= factor <= 1 + PIXEL_SIZE_TOLERANCE:
        raise InputError(
            f"{image}: a pixel is {pixel_size_um:.4g} um, but in the training of the model it was "
            f"{model_um:.4g} um, so that islands look larger or smaller than it knows them; --resample brings "
            "them to its size"
        )
    return 1.0


def differences(looks: Mapping[str, float], appearance: ImageStatistics) -> list[str]:
    """Return a warning for each quantity in which a micrograph lies outside of what the training has seen.

    That the network is surer than it was on the validation micrographs is no warning: it has seen training ones,
    and the mean of several symmetries is surer than each.
    """
    warnings = []
    for name, (low, high) in appearance.ranges.items():
        margin = MARGIN * (high - low)
        lowest = -math.inf if name == ENTROPY else low - margin
        if name in looks and not lowest <= looks[name] <= high + margin:
            warnings.append(
                f"differs from the training micrographs in {QUANTITIES[name]}: {looks[name]:.3g}, "
                f"there {low:.3g} to {high:.3g}"
            )
    return warnings


def seen_in_training(digest: str, appearance: ImageStatistics) -> list[str]:
    """Return a warning where a micrograph was in the training set."""
    return ["in the training set, so that the model knows it"] if digest in appearance.digests else []


def duplicates(digests: Mapping[str, str]) -> dict[str, str]:
    """Return for each image whose pixels an earlier one has too a warning that names the earlier one."""
    first: dict[str, str] = {}
    warnings = {}
    for image, digest in digests.items():
        earlier = first.setdefault(digest, image)
        if earlier != image:
            warnings[image] = f"the same pixels as another field: {earlier}"
    return warnings
