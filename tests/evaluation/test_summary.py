"""The scores of an evaluation and its tables, from three micrographs worked out by hand."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from microseg.evaluation.islands import AnnotatedIsland, MatchedIslands
from microseg.evaluation.metrics import (
    Agreement,
    MeasuredMicrograph,
    area_fraction_error,
    report_of,
    score_table,
    summarize_method,
)
from microseg.evaluation.scores import BoundaryAgreement, MeasuredImage, Scores
from microseg.evaluation.tables import (
    IMAGE_TABLE_HEADER,
    class_table,
    f1_by_threshold,
    image_table,
    island_classes,
    island_table,
    ranked_iou,
)


def agreement(islands, predicted, hausdorff=2.0, error=0.0, points_found=0):
    return Agreement(MatchedIslands(islands, predicted), BoundaryAgreement(0.5, hausdorff), error, points_found)


def micrograph(name, sigmoid, morphology, islands, group=""):
    pixels = MeasuredImage(name, 0.1, 5.0, {"sigmoid": sigmoid, "morphology": morphology})
    return MeasuredMicrograph(pixels, group, 2, {"sigmoid": islands, "morphology": islands})


# IoU 1, 0.5 and 0 of the sigmoid masks, 0.5 of each of the others.
MEASURED = [
    micrograph("a", Scores(4, 0, 0), Scores(2, 1, 1), agreement((AnnotatedIsland(50, 0, 0.9),), 1, 1, 0.01, 2)),
    micrograph("b", Scores(3, 1, 2), Scores(2, 1, 1), agreement((AnnotatedIsland(500, 20, 0.7),), 2, 3, 0.03, 1)),
    micrograph("c", Scores(0, 0, 5), Scores(2, 1, 1), agreement((AnnotatedIsland(50, 0, 0.0),), 0, 500, 0.02)),
]


def test_scores_by_hand():
    scores = {name: interval.value for name, interval in summarize_method(MEASURED, "sigmoid").scores.items()}
    assert scores["mean_iou"] == pytest.approx(0.5)
    assert scores["images"] == 3
    assert scores["median_iou"] == pytest.approx(0.5)
    assert scores["std_iou"] == pytest.approx(math.sqrt(1 / 6))
    assert scores["fraction_above_095"] == pytest.approx(1 / 3)
    assert scores["fraction_zero"] == pytest.approx(1 / 3)
    assert scores["mean_precision"] == pytest.approx((1 + 0.75 + 0) / 3)
    assert scores["pooled_iou"] == pytest.approx(7 / 15)
    assert (scores["islands_found"], scores["islands_missed"], scores["islands_invented"]) == (2, 1, 1)
    assert scores["island_f1"] == pytest.approx(4 / 6)
    assert scores["segmentation_quality"] == pytest.approx(0.8)
    assert scores["panoptic_quality"] == pytest.approx(1.6 / 3)
    assert scores["panoptic_quality"] == pytest.approx(scores["segmentation_quality"] * scores["island_f1"])
    assert scores["island_number_error"] == 0
    assert scores["points_found"] == pytest.approx(3 / 6)
    assert scores["hausdorff95"] == pytest.approx(504 / 3)  # 500 where nothing is predicted


def test_intervals_hold_their_values_and_widen_over_groups():
    alone = summarize_method(MEASURED, "sigmoid").scores
    for name in ("mean_iou", "pooled_iou", "island_f1", "panoptic_quality", "fraction_above_095", "fraction_zero"):
        low, high = alone[name].bounds
        assert 0 <= low < alone[name].value < high <= 1
    one_group = [micrograph(f"{n}", Scores(n, 1, 1), Scores(n, 1, 1), agreement((), 0), "steel") for n in range(5)]
    assert summarize_method(one_group, "sigmoid").scores["mean_iou"].bounds is None


def test_area_fraction_error_by_hand():
    # Mean 0.02, deviation 0.01, t(0.975; 2) = 4.3027.
    described = area_fraction_error([0.01, 0.03, 0.02], ["", "", ""])
    half, limit = 4.3027 * 0.01 / math.sqrt(3), 4.3027 * 0.01 * math.sqrt(4 / 3)
    assert described["mean"] == pytest.approx(0.02)
    assert described["standard_deviation"] == pytest.approx(0.01)
    assert described["interval95"] == pytest.approx([0.02 - half, 0.02 + half], abs=1e-5)
    assert described["limits_of_agreement"] == pytest.approx([0.02 - limit, 0.02 + limit], abs=1e-5)
    assert (described["micrographs"], described["units"]) == (3, 3)
    assert area_fraction_error([0.01], [""]) == {"mean": 0.01, "micrographs": 1, "units": 1}


def test_micrographs_of_one_group_are_not_independent_of_each_other():
    errors, groups = [0.01, 0.01, 0.03, 0.03, 0.05, 0.05], ["a", "a", "b", "b", "c", "c"]
    described = area_fraction_error(errors, groups)
    # Three groups with means 0.01, 0.03, 0.05: deviation 0.02; deviation of all six sqrt(0.0016 / 5).
    half = 4.3027 * 0.02 / math.sqrt(3)
    assert described["interval95"] == pytest.approx([0.03 - half, 0.03 + half], abs=1e-5)
    limit = math.hypot(4.3027 * math.sqrt(0.0016 / 5), half)
    assert described["limits_of_agreement"] == pytest.approx([0.03 - limit, 0.03 + limit], abs=1e-5)
    assert (described["micrographs"], described["units"]) == (6, 3)
    assert "limits_of_agreement" not in area_fraction_error(errors, ["a"] * 6)


@pytest.mark.parametrize(("groups", "size", "lowest", "highest"), [(4, 1, 0.93, 0.97), (4, 5, 0.93, 1)])
def test_a_further_micrograph_lies_within_the_limits(groups, size, lowest, highest):
    random = np.random.default_rng(0)
    within = []
    for _ in range(600):
        errors = random.normal(size=(groups + 1, 1)) + random.normal(size=(groups + 1, size))
        known = errors[:groups].ravel().tolist()
        names = np.repeat(range(groups), size).astype(str).tolist() if size > 1 else [""] * groups
        low, high = area_fraction_error(known, names)["limits_of_agreement"]
        within.append(low <= errors[-1, 0] <= high)
    assert lowest < np.mean(within) < highest


def test_the_difference_is_paired():
    report = report_of(MEASURED, {m: summarize_method(MEASURED, m) for m in ("sigmoid", "morphology")})
    difference = report["sigmoid_minus_morphology"]
    assert difference["mean_iou"] == pytest.approx(0.0)
    low, high = difference["mean_iou_interval95"]
    assert low < 0 < high
    assert difference["wilcoxon_p"] == pytest.approx(1.0)
    grouped = [dataclasses.replace(one, group=f"steel {number}") for number, one in enumerate(MEASURED)]
    report = report_of(grouped, {m: summarize_method(grouped, m) for m in ("sigmoid", "morphology")})
    assert set(report["sigmoid_minus_morphology"]) == {"mean_iou", "mean_iou_interval95"}


def test_the_metrics_are_few_and_the_report_has_all_scores(finished: Path):
    metrics = json.loads((finished / "metrics" / "evaluation.json").read_text())
    folder = finished / "reports" / "evaluation"
    report = json.loads((folder / "evaluation.json").read_text())
    for method in ("sigmoid", "morphology"):
        assert metrics[method] == {"mean_iou": report[method]["mean_iou"], "f1": report[method]["island_f1"]}
    assert list(report) == [
        *("dataset", "sigmoid", "morphology", "sigmoid_minus_morphology", "calibration"),
        *("settings", "model"),
    ]
    table = list(csv.DictReader((folder / "scores.csv").open()))
    values = {row["score"]: row["value"] for row in table if row["method"] == "sigmoid"}
    assert float(values["mean_iou"]) == pytest.approx(report["sigmoid"]["mean_iou"])
    assert {"island_precision", "mean_recall", "islands_invented", "island_mean_f1"} <= set(values)


def test_every_figure_of_one_column_is_there_as_vectors_too(finished: Path):
    plots = finished / "plots"
    for name in (
        "island_recall_by_area",
        "island_recall_by_border_distance",
        "island_f1",
        "reliability",
        "iou_distribution",
    ):
        assert (plots / "evaluation" / f"{name}.png").stat().st_size
        assert all((plots / "vectors" / f"{name}.{ending}").stat().st_size for ending in ("svg", "pdf"))


def test_tables_by_hand():
    rows = [dict(zip(IMAGE_TABLE_HEADER, row, strict=True)) for row in image_table(MEASURED)]
    assert [(row["image"], row["method"], row["iou"]) for row in rows[:2]] == [
        ("a", "sigmoid", 1),
        ("a", "morphology", 0.5),
    ]
    assert (rows[2]["islands_found"], rows[2]["islands_missed"], rows[2]["islands_invented"]) == (1, 0, 1)
    assert rows[4]["hausdorff95"] == 500
    assert next(iter(island_table(MEASURED))) == ("a", "sigmoid", 50, 0, 0.9, 1)
    assert list(f1_by_threshold(MEASURED, ["sigmoid"]))[4] == (0.7, pytest.approx(2 / 6))
    pixels = [one.pixels for one in MEASURED]
    assert list(ranked_iou(pixels, ["sigmoid"])) == [(1 / 3, 0.0), (2 / 3, 0.5), (1.0, 1.0)]
    assert len(list(score_table({"sigmoid": summarize_method(MEASURED, "sigmoid")}))) > 20


def test_recall_by_class_by_hand():
    rows = list(class_table(island_classes(MEASURED, ["sigmoid"])))
    assert [row[:5] for row in rows] == [
        ("sigmoid", "area", "0 to 99", 2, 0.5),
        ("sigmoid", "area", "300 to 999", 1, 1.0),
        ("sigmoid", "border_distance", "0", 2, 0.5),
        ("sigmoid", "border_distance", "16 to 63", 1, 1.0),
    ]
    # Two micrographs with such islands are too few for an interval; of the one that found all, it is Wilson's.
    assert rows[0][5:] == ("", "")
    assert rows[1][5:] == pytest.approx((1 / (1 + 3.8415), 1), abs=1e-4)
