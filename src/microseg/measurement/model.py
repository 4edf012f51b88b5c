"""The model of a run: its folder, its evaluation, and whether micrographs resemble those it was trained on.

A difference from the training micrographs is evidence of a problem; no difference proves nothing.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from scipy.special import expit, logit

from microseg.common.errors import InputError
from microseg.common.params import PostprocessParams
from microseg.measurement.settings import Settings
from microseg.micrographs.pixel_size import PixelSize
from microseg.network.image_statistics import ENTROPY, QUANTITIES, ImageStatistics
from microseg.network.model_card import ModelCard, model_identity, read_card

MODEL, EVALUATION = "models", "reports/evaluation/evaluation.json"
"""Where a project of this pipeline keeps its model and the model's evaluation."""
EVALUATION_FILE = "evaluation.json"
"""The evaluation beside the weights, in a model's folder."""

DEFAULT_POSTPROCESS = PostprocessParams(
    sigmoid_threshold=0.5, morphology_threshold="validation", opening_radius=3, closing_radius=3
)
"""The masks of a model whose evaluation is not known: the section of params.yaml by default."""

PIXEL_SIZE_TOLERANCE = 0.25
"""Micrographs whose pixel size differs from the training's by a larger fraction are refused."""
MARGIN = 0.25
"""The range of the training micrographs is widened on either side by this fraction of its width."""


@dataclass(frozen=True)
class UsedModel:
    """The model of a run, and what is known of it."""

    source: str
    """Where it comes from, as the user gives it."""
    card: ModelCard
    environment: dict[str, str]
    """Device, precision and libraries."""
    statistics: ImageStatistics | None
    """Statistics of the micrographs it was trained on, where its folder has them."""
    evaluation: dict[str, Any] | None
    """Its evaluation, where it is known."""

    @property
    def pixel_size(self) -> PixelSize | None:
        """The pixel size of the micrographs it was trained on, where it is known."""
        known = self.statistics
        if known is None or known.pixel_size_um is None:
            return None
        return PixelSize(known.pixel_size_um, known.pixel_size_from)


@contextmanager
def open_model(source: str) -> Iterator[Path]:
    """Yield the folder of a model, with its evaluation in it where that is known.

    Args:
        source: a folder, or `URL#revision` of a git repository of this pipeline, whose model is fetched with DVC.

    Raises:
        InputError: there is no such folder, or the model cannot be fetched.
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
        done = _dvc_get(url, revision, MODEL, folder)
        if done.returncode or not folder.is_dir():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1].removeprefix("ERROR: ")
            raise InputError(f"--model {source}: DVC cannot fetch {MODEL} from there: {reason}")
        # This fails at a revision that was never evaluated; the report then says that there is no evaluation.
        _dvc_get(url, revision, EVALUATION, folder / EVALUATION_FILE)
        yield folder


def _dvc_get(url: str, revision: str, path: str, target: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dvc", "get", url, path, "--rev", revision, "--out", str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """Return the evaluation of the model in a folder, or None where it is not known.

    It lies beside the weights or, where the folder is the one of a project of this pipeline, among the project's
    reports. An evaluation that names other weights, or none, belongs to another model and is ignored.

    Raises:
        InputError: the file of the evaluation is not JSON, or the folder has no model card.
    """
    weights = model_identity(read_card(folder))["weights"]
    for path in (folder / EVALUATION_FILE, folder.resolve().parent / EVALUATION):
        if path.is_file():
            try:
                content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                evaluated = content["model"]["weights"]
            except ValueError as error:
                raise InputError(f"{path}: not JSON ({error}); rerun the stage evaluate or remove it") from error
            except (KeyError, TypeError):
                continue
            if evaluated == weights:
                return content
    return None


def evaluated_settings(settings: Settings, card: ModelCard, evaluation: Mapping[str, Any] | None) -> Settings:
    """Return settings with the thresholds and radii that the model was evaluated with, whose error is known.

    Without an evaluation they are those of DEFAULT_POSTPROCESS. The logits of a run are divided by the model's
    temperature; thresholds of logits that were not, or by another number, are converted.

    Raises:
        InputError: the evaluation has settings that this version does not know, or the run asks for TTA with a
            model that was not trained with it.
    """
    flips = card.training.get("augment", {}).get("flips", "d4")
    if settings.tta and flips != "d4":
        raise InputError(
            f"--tta: the model was trained with train.augment.flips {flips}, not for the eight flips and "
            "rotations; omit it"
        )
    made_with = (evaluation or {}).get("settings")
    try:
        masks = PostprocessParams(**made_with["postprocess"]) if made_with else DEFAULT_POSTPROCESS
        further = card.temperature / made_with["temperature"] if made_with else 1.0
    except (ValidationError, KeyError, TypeError, ZeroDivisionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{EVALUATION_FILE}: unknown settings ({reason}); rerun the stage evaluate") from error
    threshold = masks.morphology_threshold
    if threshold == "validation":
        threshold = card.best_logit / card.temperature
    elif threshold != "otsu":
        threshold /= further
    return replace(
        settings,
        threshold=float(expit(logit(masks.sigmoid_threshold) / further)),
        morphology_threshold=threshold,
        opening_radius=masks.opening_radius,
        closing_radius=masks.closing_radius,
    )


def unlike_evaluation(settings: Settings, evaluation: Mapping[str, Any] | None) -> list[str]:
    """Return what a run does otherwise than the evaluation of its model, so that its error may be another one."""
    if evaluation is None:
        return []
    if "settings" not in evaluation:
        return ["thresholds, radii and tiles of the evaluation are not known"]
    then = evaluation["settings"].get("predict", {})
    tta = "d4" if settings.tta else "none"
    tiles, tiles_then = settings.tile_size or "none", then.get("tile_size") or "none"
    differences = {
        f"test-time augmentation is {tta}, there {then.get('tta')}": tta != then.get("tta"),
        f"size of the tiles is {tiles}, there {tiles_then}": tiles != tiles_then,
        "small islands are excluded, there they count": settings.min_area.number > 0,
        "micrographs are resampled, there they are not": settings.resample,
    }
    return [text for text, differs in differences.items() if differs]


def scale_factor(model_um: float | None, image: str, pixel_size_um: float | None, *, resample: bool) -> float:
    """Return the factor by which a micrograph is enlarged before the network sees it; 1 leaves it unchanged.

    Args:
        model_um: pixel size of the training micrographs in micrometres, where it is known.
        image: the name of the micrograph.
        pixel_size_um: pixel size of the micrograph in micrometres, where it is known.
        resample: whether to bring the micrograph to the pixel size of the training.

    Raises:
        InputError: the pixel sizes differ by more than a quarter and the micrograph is not to be resampled, or it
            is to be and one of them is not known.
    """
    if model_um is None or pixel_size_um is None:
        if resample:
            unknown = "the pixel size of the training is not known"
            what = unknown if model_um is None else f"{image} has no pixel size"
            raise InputError(f"--resample: {what}, so there is no factor to resample by; omit it")
        return 1.0
    factor = pixel_size_um / model_um
    if resample:
        return factor
    if not 1 - PIXEL_SIZE_TOLERANCE <= factor <= 1 + PIXEL_SIZE_TOLERANCE:
        raise InputError(
            f"{image}: its pixel size is {pixel_size_um:.4g} um, but the model was trained at {model_um:.4g} um, "
            "where islands have another size in pixels; add --resample to show it to the network at that size"
        )
    return 1.0


def out_of_range(statistics: Mapping[str, float], training: ImageStatistics) -> list[str]:
    """Return a warning for each statistic of a micrograph that lies outside the range of the training micrographs.

    Low entropy is not warned of. The range of the entropy comes from the validation micrographs: the network is
    more certain on those it was trained on, and with test-time augmentation.
    """
    warnings = []
    for name, (low, high) in training.ranges.items():
        margin = MARGIN * (high - low)
        lowest = -math.inf if name == ENTROPY else low - margin
        if name in statistics and not lowest <= statistics[name] <= high + margin:
            warnings.append(
                f"differs from the training micrographs in {QUANTITIES[name]}: {statistics[name]:.3g}, "
                f"there {low:.3g} to {high:.3g}"
            )
    return warnings


def seen_in_training(digest: str, training: ImageStatistics) -> list[str]:
    """Return a warning if the micrograph with this digest was in the training set."""
    return ["in the training set, so the model has seen it"] if digest in training.digests else []
