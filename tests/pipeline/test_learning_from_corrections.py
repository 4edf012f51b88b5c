"""Corrections join the micrographs that were trained on: in training alone, weighted, and the test set stays."""

import contextlib
import json
import runpy
import shlex
import shutil
import sys

import numpy as np
import pytest

from microseg.micrographs.images import read_mask
from microseg.network.model_card import read_card
from microseg.splits import TEST, TRAIN, images_of, read_split

from pipeline_files import ROOT, STAGES
from project_copy import set_params
from tiny_training import TINY, write_blobs

INTAKE = ("download", "parse_csv", "rasterize_masks", "split")
ALL = (*INTAKE, "encoder_weights", "train", "predict", "postprocess", "evaluate")
SETTINGS = TINY | {"base_channels": 4, "norm_layer": "batch", "lr": 0.01, "epochs": 4, "crops_per_micrograph": 4}


@pytest.fixture
def project(tmp_path):
    """A project with eight micrographs in data/inbox/first, and six more in new/ that nobody has annotated."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(
        tmp_path,
        {
            "download.source": "folder",
            "split.test_size": 2,
            "split.validation_size": 2,
            "rasterize_masks.examples": 1,
        }
        | {f"train.{name}": value for name, value in SETTINGS.items()},
    )
    write_blobs(tmp_path / "all", 14)
    for part in ("images", "masks"):
        for number, path in enumerate(sorted((tmp_path / "all" / part).iterdir())):
            folder = tmp_path / ("data/inbox/first" if number < 8 else "new") / part
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / path.name)
    (tmp_path / "data" / "weights").mkdir()
    return tmp_path


def run(folder, *stages):
    """Run the commands of stages in `folder` and this process until one fails; return its error."""
    for stage in stages:
        command = STAGES[stage]["cmd"].replace("${download.path}", "data/inbox")
        _, script, *arguments = shlex.split(command)
        with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ROOT / "stages")
            patch.setattr(sys, "argv", [script, *arguments])
            patch.setenv("MICROSEG_HOME", str(folder / "home"))
            try:
                runpy.run_path(str(ROOT / script), run_name="__main__")
            except SystemExit as end:
                return f"{stage}: {end.code}"
    return None


def correct(project, count):
    """Add the first of the new micrographs with their right masks as a second folder; return their names."""
    names = sorted(path.name for path in (project / "new" / "images").iterdir())[:count]
    for part in ("images", "masks"):
        (project / "data/inbox/corrected" / part).mkdir(parents=True)
        for name in names:
            shutil.copy(project / "new" / part / name, project / "data/inbox/corrected" / part)
    rows = "".join(f"{name},true\n" for name in names)
    (project / "data/inbox/corrected/metadata.csv").write_text(f"image_url,corrected\n{rows}")
    return names


def split_of(project):
    return read_split(project / "data" / "split.csv")


def mean_iou(project):
    return json.loads((project / "metrics" / "evaluation.json").read_text())["sigmoid"]["mean_iou"]


def test_the_walk_of_the_how_to(project):
    assert run(project, *ALL) is None
    before, tested = mean_iou(project), images_of(split_of(project), TEST)
    shutil.copytree(project / "models", project / "data/weights/before")
    corrected = correct(project, 4)
    set_params(project, {"train.encoder_weights": "data/weights/before", "train.corrected_weight": 2})
    assert run(project, *ALL) is None
    assert images_of(split_of(project), TEST) == tested
    card = read_card(project / "models")
    assert set(corrected) < set(card.training_micrographs)
    assert len(card.training_micrographs) == len(set(card.training_micrographs)) == 8
    assert mean_iou(project) > before


def test_a_corrected_micrograph_and_its_group_are_for_training(project):
    corrected = correct(project, 4)
    names = sorted(path.name for path in (project / "data/inbox/first/images").iterdir())
    heats = {**{name: number // 2 for number, name in enumerate(names)}, **dict.fromkeys(corrected, 0)}
    for folder in ("first", "corrected"):
        images = sorted(path.name for path in (project / "data/inbox" / folder / "images").iterdir())
        rows = "".join(f"{name},{folder == 'corrected'},{heats[name]}\n" for name in images)
        (project / "data/inbox" / folder / "metadata.csv").write_text(f"image_url,corrected,heat\n{rows}")
    set_params(project, {"split.group_by": ["heat"]})
    assert run(project, *INTAKE) is None
    for seed in range(3):
        set_params(project, {"seed": seed})
        assert run(project, "split") is None
        assert {*corrected, *names[:2]} <= set(images_of(split_of(project), TRAIN))
    set_params(project, {"split.folds": 3, "split.group_by": ["heat"]})
    tested = set()
    for fold in range(3):
        set_params(project, {"split.fold": fold})
        assert run(project, "split") is None
        tested |= set(images_of(split_of(project), TEST))
    assert tested == set(names[2:])


def test_a_column_may_put_corrected_micrographs_into_the_test_set(project):
    correct(project, 4)
    table = project / "data/inbox/corrected/metadata.csv"
    table.write_text(table.read_text().replace("corrected", "corrected,part", 1).replace("true", "true,test"))
    images = sorted(path.name for path in (project / "data/inbox/first/images").iterdir())
    parts = ["train"] * 6 + ["val"] * 2
    rows = "".join(f"{name},{part}\n" for name, part in zip(images, parts, strict=True))
    (project / "data/inbox/first/metadata.csv").write_text(f"image_url,part\n{rows}")
    set_params(project, {"split.from_column": "part", "split.test_size": 20, "split.validation_size": 0.2})
    assert run(project, *INTAKE) is None
    assert len(images_of(split_of(project), TEST)) == 4


def test_a_value_that_is_neither_true_nor_false_is_refused(project):
    (name, *_) = correct(project, 2)
    table = project / "data/inbox/corrected/metadata.csv"
    table.write_text(table.read_text().replace("true", "maybe", 1))
    assert f"corrected of {name}: 'maybe' is neither true nor false" in run(project, *INTAKE)


def test_a_review_beside_the_set_changes_the_masks(project):
    assert run(project, *INTAKE) is None
    name = sorted(path.name for path in (project / "data/masks").iterdir())[0]
    row, column = np.argwhere(read_mask(project / "data/masks" / name))[0].tolist()
    review = project / "data/inbox/review.csv"
    header = "image,island,verdict,by,date,outline"
    square = '"[(1, 1), (5, 1), (5, 5), (1, 5)]"'
    review.write_text(f'{header}\n{name},"({column}, {row})",redraw,kim,2026-11-27,{square}\n')
    assert run(project, *INTAKE) is None
    assert read_mask(project / "data/masks" / name)[1:6, 1:6].all()
    review.write_text(f'{header}\n{name},"({column}, {row})",remov,kim,2026-11-27,\n')
    error = run(project, "download", "parse_csv")
    assert error.startswith("parse_csv: error: data/inbox/review.csv, line 2: unknown verdict 'remov'")
