"""Cross-validation: which experiments it runs, out-of-fold scores, and which annotations to check first."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, parse_points
from microseg.annotations.review import reviewed
from microseg.common.errors import InputError
from microseg.evaluation.islands import unmatched_islands
from microseg.experiments import crossval
from microseg.experiments.crossval import (
    ISLANDS_HEADER,
    OVER_FOLDS,
    IslandToCheck,
    fold_settings,
    island_row,
    look_here_first,
    out_of_fold,
    out_of_fold_scores,
    scores_over_folds,
    write_crossval,
)
from microseg.experiments.settings import build_grid
from microseg.micrographs.images import write_mask, write_micrograph
from microseg.micrographs.line_map import LineMap

from pipeline_files import ROOT


def fold_table(images, iou):
    """One fold, with micrographs of 100 annotated pixels and one island, found above an IoU of a half."""
    fraction = np.asarray(iou)
    sigmoid = pd.DataFrame(
        {
            "image": images,
            "method": "sigmoid",
            "iou": fraction,
            "dice": 2 * fraction / (1 + fraction),
            "true_positives": 100 * fraction,
            "false_positives": 0,
            "false_negatives": 100 - 100 * fraction,
            "islands_found": (fraction > 0.5).astype(int),
            "islands_missed": (fraction <= 0.5).astype(int),
            "islands_invented": 0,
            "islands_covered": np.where(fraction > 0.5, fraction, 0),
            "group": "",
        }
    )
    return pd.concat([sigmoid, sigmoid.assign(method="morphology", iou=fraction / 2)])


@pytest.fixture
def folds(monkeypatch):
    tables = {"0": fold_table(["a.png", "b.png"], [0.9, 0.3]), "1": fold_table(["c.png"], [0.6])}
    monkeypatch.setattr(crossval, "head", lambda: "a" * 40)
    monkeypatch.setattr(crossval, "run_git", lambda *arguments: arguments[-1][-1])
    monkeypatch.setattr(crossval, "read_image_table", tables.get)
    return tables


EXPERIMENTS = build_grid(fold_settings(2, [], []), ROOT / "params.yaml")


def test_every_fold_is_an_experiment_with_its_groups_and_settings():
    experiments = build_grid(fold_settings(3, ["type", "temperature"], ["train.epochs=5"]), ROOT / "params.yaml")
    assert [one.values["split.fold"] for one in experiments] == [0, 1, 2]
    for one in experiments:
        assert one.values["split.folds"] == 3
        assert one.values["split.group_by"] == ["type", "temperature"]
        assert one.values["train.epochs"] == 5
    assert len({one.name for one in experiments}) == 3


@pytest.mark.parametrize("setting", ["split.folds=3", "split.fold=0", "split.group_by=[type]"])
def test_a_setting_does_not_change_the_folds(setting):
    with pytest.raises(
        InputError, match=f"-S {re.escape(setting)}: is set by --folds, --fold-column or --group-by"
    ):
        fold_settings(5, ["temperature"], [setting])
    assert fold_settings(5, [], ["split.group_by=[type]"])[-1] == "split.group_by=[type]"


@pytest.mark.usefixtures("folds")
def test_out_of_fold_scores_are_those_of_all_micrographs():
    table = out_of_fold(EXPERIMENTS)
    assert list(table[table["method"] == "sigmoid"]["fold"]) == [0, 0, 1]
    scores = out_of_fold_scores(table)
    assert scores["sigmoid", "mean IoU"].value == pytest.approx(0.6)
    assert scores["sigmoid", "F1 of the islands"].value == pytest.approx(4 / 5)
    # Two islands found at IoU 0.9 and 0.6, one missed.
    assert scores["sigmoid", "panoptic quality"].value == pytest.approx((0.9 + 0.6) / (2 + 1 / 2))
    low, high = scores["sigmoid", "mean IoU"].bounds
    assert low < 0.6 < high


@pytest.mark.usefixtures("folds")
def test_the_mean_over_folds_allows_for_shared_training_micrographs():
    scores = scores_over_folds(out_of_fold(EXPERIMENTS))
    # Pooled: 120 of 200 pixels in one fold, 60 of 100 in the other, so that nothing is left to estimate from.
    assert scores["sigmoid", OVER_FOLDS].value == pytest.approx(0.6)
    assert scores["sigmoid", OVER_FOLDS].interval is None


def test_the_interval_of_the_mean_over_folds_is_that_of_nadeau_and_bengio():
    ious = [0.6, 0.7, 0.8]
    table = pd.concat([fold_table([f"{fold}.png"], [iou]).assign(fold=fold) for fold, iou in enumerate(ious)])
    score = scores_over_folds(table)["sigmoid", OVER_FOLDS]
    assert score.value == pytest.approx(0.7)
    # Half of it without bounds: 4.303 standard errors of 0.1 x sqrt(1/3 + 1/2) = 0.0913, more than 0.3.
    low, high = score.bounds
    error = 0.1 * (1 / 3 + 1 / 2) ** 0.5
    for bound in (low, high):  # where the error of a fraction puts 0.7 at the edge
        assert abs(bound - 0.7) == pytest.approx(
            4.3027 * error * (bound * (1 - bound) / (0.7 * 0.3)) ** 0.5, rel=1e-3
        )


def test_a_micrograph_in_two_folds_is_refused(folds):
    folds["1"] = fold_table(["a.png"], [0.6])
    with pytest.raises(InputError, match=r"a\.png was tested in two folds"):
        out_of_fold(EXPERIMENTS)


@pytest.mark.usefixtures("folds")
def test_the_worst_of_the_better_method_come_first():
    first = look_here_first(out_of_fold(EXPERIMENTS))
    assert list(first["image"]) == ["b.png", "c.png", "a.png"]
    assert set(first["method"]) == {"sigmoid"}


@pytest.mark.usefixtures("folds")
def test_the_report_has_tables_and_figures(tmp_path, monkeypatch):
    annotation = np.zeros((64, 64), dtype=bool)
    annotation[10:20, 10:20] = True
    prediction = annotation.copy()
    prediction[40:44, 50:53] = True

    def fetch(_revision, paths, folder: Path):
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if "images" in path:
                write_micrograph(folder / path, annotation.astype(np.uint8))
            else:
                write_mask(folder / path, annotation if "masks" in path else prediction)

    monkeypatch.setattr(crossval, "fetch", fetch)
    report = write_crossval(out_of_fold(EXPERIMENTS), tmp_path / "crossval")
    assert "Each of 3 micrographs was predicted once" in report
    assert "| b.png | 0 | 0.300 | 1 | 0 |" in report
    assert "| 1 | 1 | 0.6000 | 0.6000 |" in report
    assert "0 annotated islands have no predicted counterpart, 3 predicted ones" in report
    assert "| b.png | 0 | invented | 12 | 50 | 40 |" in report
    with (tmp_path / "crossval" / "islands_to_check.csv").open(newline="") as file:
        (row, *_) = csv.DictReader(file)
    assert (row["island"], row["verdict"]) == ("", "")
    drawn = np.array(parse_points(row["outline"], "the outline")).reshape(-1, 2)
    assert drawn.min(axis=0).tolist() == [50, 40]
    assert drawn.max(axis=0).tolist() == [52, 43]
    written = {path.name for path in (tmp_path / "crossval").iterdir()}
    assert written == {
        *("scores.csv", "micrographs.csv", "report.md"),
        *("look_here_first.csv", "look_here_first.png"),
        *("islands_to_check.csv", "islands_to_check.png"),
    }


def test_the_islands_to_check_become_a_review(tmp_path):
    ring = [(2, 2), (30, 2), (30, 30), (2, 30), (2, 3), (6, 3), (6, 26), (26, 26), (26, 6), (2, 6)]
    annotated = ImageMask(
        "a.png", [AnnotatedPolygon((3, 2), ring, 2), AnnotatedPolygon((42, 42), [(40, 40), (44, 40), (40, 44)], 3)]
    )
    seen = ImageMask("a.png", [AnnotatedPolygon((50, 9), [(48, 8), (52, 8), (52, 12), (48, 12)])])
    truth, predicted = (create_binary_mask(one, 60, 60) for one in (annotated, seen))
    islands = unmatched_islands(truth, predicted)
    rows = [dict(zip(ISLANDS_HEADER, island_row(IslandToCheck("a.png", 0, one)), strict=True)) for one in islands]
    for row, verdict in zip(rows, ["keep", "remove", "add"], strict=True):
        row |= {"verdict": verdict, "by": "kim", "date": "2026-11-27"}
    with (tmp_path / "review.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ISLANDS_HEADER)
        writer.writeheader()
        writer.writerows(rows)
    table = tmp_path / "annotations.csv"
    (mask,), _ = reviewed([annotated], [], table, LineMap(table))
    expected = create_binary_mask(ImageMask("", [annotated[0], seen[0]]), 60, 60)
    assert np.array_equal(create_binary_mask(mask, 60, 60), expected)
