"""What a model, or one that it started from, was trained on is never measured, and neither is what fitted it."""

import contextlib
import json
import runpy
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, write_polygons
from microseg.micrographs.images import pixel_digest, read_micrograph
from microseg.network.image_statistics import read_image_statistics
from microseg.network.model_card import WeightsOrigin, read_card, write_weights_origin
from microseg.splits import SplitRow, write_split

from pipeline_files import ROOT
from project_copy import set_params
from tiny_training import TINY, write_blobs

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def names(*numbers: int) -> list[str]:
    return [f"IMG_{number:05d}.png" for number in numbers]


def run_stage(folder: Path, stage: str) -> str | None:
    """Run the command of a stage in `folder` and this process; return its error, if any."""
    _, script, *arguments = STAGES[stage]["cmd"].split()
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "stages")
        patch.setattr(sys, "argv", [script, *arguments])
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            return str(end.code)
    return None


def split(folder: Path, train: Iterable[str], validation: Iterable[str], test: Iterable[str]) -> None:
    sides = {"train": train, "validation": validation, "test": test}
    write_split(
        folder / "data/split.csv",
        [SplitRow(image, side, "") for side, images in sides.items() for image in images],
    )


def start_from(folder: Path, model: Path | None) -> None:
    """Write what the stage encoder_weights leaves: a copy of a model, or nothing."""
    weights = folder / "data/encoder_weights"
    shutil.rmtree(weights, ignore_errors=True)
    weights.mkdir(parents=True)
    write_weights_origin(weights, WeightsOrigin("model" if model else "none", "plain"))
    if model:
        shutil.copytree(model, weights / "model")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of 1 to 6, in `first`, and one of 7 and 8 that started from it, in `models`."""
    folder = tmp_path_factory.mktemp("seen")
    shutil.copy(ROOT / "params.yaml", folder)
    set_params(folder, {f"train.{key}": value for key, value in (TINY | {"epochs": 1}).items()})
    write_blobs(folder / "data/raw", 14, 32, 32)
    (folder / "data/raw/metadata.csv").write_text("image_url\n")
    shutil.move(folder / "data/raw/masks", folder / "data/masks")
    outline = [(4, 4), (9, 4), (9, 9)]
    write_polygons(
        folder / "data/polygons.jsonl",
        [ImageMask(name, [AnnotatedPolygon((7, 5), outline)]) for name in names(*range(1, 15))],
    )
    start_from(folder, None)
    split(folder, names(1, 2, 3, 4, 5, 6), names(7, 8), names(9, 10))
    assert run_stage(folder, "train") is None
    shutil.copytree(folder / "models", folder / "first")
    start_from(folder, folder / "first")
    split(folder, names(7, 8), names(9, 10), names(11, 12))
    assert run_stage(folder, "train") is None
    return folder


def test_the_model_card_carries_on_what_earlier_models_were_trained_on(workplace: Path) -> None:
    card, statistics = read_card(workplace / "models"), read_image_statistics(workplace / "models")
    assert read_card(workplace / "first").ancestor_micrographs == ()
    assert card.training_micrographs == tuple(names(7, 8))
    assert card.ancestor_micrographs == tuple(names(1, 2, 3, 4, 5, 6))
    assert statistics is not None
    images = workplace / "data/raw/images"
    expected = [pixel_digest(read_micrograph(images / name)) for name in names(7, 8, 1, 2, 3, 4, 5, 6)]
    assert list(statistics.digests) == expected


@pytest.mark.parametrize("seen", [(8,), (2, 5)], ids=["parent", "grandparent"])
def test_a_test_set_that_a_model_was_trained_on_is_refused(workplace: Path, seen: tuple[int, ...]) -> None:
    start_from(workplace, workplace / "models")
    split(workplace, names(12), names(13), [*names(*seen), *names(11)])
    before = (workplace / "models/model.json").read_bytes()
    error = run_stage(workplace, "train")
    assert error is not None
    listed = ", ".join(names(*seen))
    assert f"was trained on micrographs of the test set, by their names or pixels: {listed};" in error
    assert "\n" not in error.strip()
    assert (workplace / "models/model.json").read_bytes() == before


def test_a_renamed_copy_is_recognized_by_its_pixels(workplace: Path) -> None:
    start_from(workplace, workplace / "models")
    for part in ("raw/images", "masks"):
        shutil.copy(workplace / "data" / part / names(3)[0], workplace / "data" / part / "renamed.png")
    split(workplace, names(12), names(13), [*names(11), "renamed.png"])
    error = run_stage(workplace, "train")
    assert error is not None
    assert "by their names or pixels: renamed.png;" in error


def test_without_a_test_set_the_validation_set_is_measured_and_refused(workplace: Path) -> None:
    start_from(workplace, workplace / "models")
    split(workplace, names(12), names(4, 13), [])
    error = run_stage(workplace, "train")
    assert error is not None
    assert "micrographs of the validation set, by their names or pixels: IMG_00004.png;" in error
    # Trained on again, it is no leak.
    split(workplace, names(4, 12), names(3, 13), names(14))
    assert run_stage(workplace, "train") is None


def test_calibration_is_not_measured_on_what_it_was_fitted_on(workplace: Path) -> None:
    split(workplace, names(7, 8), names(9, 10), [])
    for stage in ("predict", "postprocess", "evaluate"):
        assert run_stage(workplace, stage) is None
    report = json.loads((workplace / "reports/evaluation/evaluation.json").read_text())
    assert report["dataset"]["split"] == "validation"
    assert "calibration" not in report
    assert not (workplace / "reports/evaluation/reliability.csv").exists()
    assert not (workplace / "plots/evaluation/reliability.png").exists()
