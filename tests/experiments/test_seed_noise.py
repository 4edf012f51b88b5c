"""The noise of seeds: computed by hand, in a simulation, and in the review of a change."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from microseg.common.errors import InputError
from microseg.experiments import review
from microseg.experiments.comparison import Comparison, Dataset, Point
from microseg.experiments.review import (
    OF_THE_MEAN,
    SEED_NOISE,
    read_noise,
    record_noise,
    seed_noise,
    write_noise,
)

from project_copy import run

MEASURED_ON = Dataset("synthetic", "test", 2, "ab12")


def table(**iou):
    rows = [
        {"image": f"{n}.png", "method": method, "iou": one}
        for method, values in iou.items()
        for n, one in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_noise_by_hand():
    # Three seeds, two micrographs: means 0.5, 0.6, 0.7; standard deviations of the micrographs 0.2 and 0.
    tables = [table(sigmoid=[0.4, 0.6]), table(sigmoid=[0.6, 0.6]), table(sigmoid=[0.8, 0.6])]
    mean, hard, steady = seed_noise(tables, "ab12")
    # t(0.975; 2) = 4.3027
    assert mean == ("sigmoid", OF_THE_MEAN, "ab12", 3, pytest.approx(0.1), pytest.approx(0.60849, abs=1e-4))
    assert hard[1] == "0.png"
    assert hard[4:] == (pytest.approx(0.2), pytest.approx(4.3027 * math.sqrt(2) * 0.2, abs=1e-4))
    # One that scores the same with every seed takes the root mean square, sqrt(0.04 / 2).
    assert steady[4] == pytest.approx(math.sqrt(0.02))


def test_a_hard_micrograph_is_changed_by_chance_as_rarely_as_an_easy_one():
    random = np.random.default_rng(0)
    deviations = np.array([0.1, *[0.005] * 7])
    exceeded = []
    for _ in range(200):
        seeds = [table(sigmoid=list(0.7 + deviations * random.standard_normal(8))) for _ in range(7)]
        limits = [row[5] for row in seed_noise(seeds[:5], "")][1:]
        exceeded.append(np.abs(seeds[5]["iou"] - seeds[6]["iou"]) > limits)
    hard, *easy = np.mean(exceeded, axis=0)
    assert hard <= 0.1
    assert 0.03 <= np.mean(easy) <= 0.07


def test_seeds_alone_exceed_it_in_one_of_twenty_cases():
    random = np.random.default_rng(0)
    exceeded = []
    for _ in range(300):
        seeds = [table(sigmoid=list(0.7 + 0.05 * random.standard_normal(8))) for _ in range(7)]
        noticeable = next(iter(seed_noise(seeds[:5], "")))[5]
        exceeded.append(abs(seeds[5]["iou"].mean() - seeds[6]["iou"].mean()) > noticeable)
    assert 0.03 <= np.mean(exceeded) <= 0.07


def test_noise_of_other_micrographs_is_ignored(tmp_path):
    path = tmp_path / "noise.csv"
    write_noise(path, [table(sigmoid=[0.4]), table(sigmoid=[0.6])], "ab12")
    assert set(read_noise(path, "ab12")) == {("sigmoid", OF_THE_MEAN), ("sigmoid", "0.png")}
    assert read_noise(path, "cd34") == {}
    assert read_noise(tmp_path / "nothing.csv", "ab12") == {}


def test_scores_on_other_annotations_are_not_compared(monkeypatch):
    tables = {"HEAD": table(sigmoid=[0.4, 0.6]), None: table(sigmoid=[0.6, 0.6])}
    relabelled = dataclasses.replace(MEASURED_ON, ground_truth_sha256="cd34")
    monkeypatch.setattr(review, "read_image_table", tables.get)
    monkeypatch.setattr(review, "read_dataset", {"HEAD": MEASURED_ON, None: relabelled}.get)
    (text,) = review.micrograph_changes("HEAD")
    assert "whose digests are ab12 and cd34: no score of the two is comparable" in text
    assert "better" not in text


def test_noise_is_recorded_from_experiments_that_differ_in_their_seed(tmp_path, monkeypatch):
    tables = {"aaa": table(sigmoid=[0.4, 0.6]), "bbb": table(sigmoid=[0.6, 0.6])}
    monkeypatch.setattr(review, "read_image_table", tables.get)
    points = tuple(Point(name, name, seed, seed, {}) for seed, name in enumerate(tables))
    record_noise(Comparison("train.seed", points, MEASURED_ON, ()), tmp_path / "noise.csv")
    assert (tmp_path / "noise.csv").read_text().splitlines()[1].startswith("sigmoid,mean,ab12,2,0.07071")
    missing = (*points, Point("other", "ccc", 3, 3, {}))
    with pytest.raises(InputError, match=r"other: no reports/evaluation/micrographs\.csv"):
        record_noise(Comparison("train.seed", missing, MEASURED_ON, ()), tmp_path / "noise.csv")


def test_the_review_compares_changes_with_the_noise_of_seeds(project):
    now = pd.read_csv(project / "reports" / "evaluation" / "micrographs.csv")
    evaluation = json.loads((project / "reports" / "evaluation" / "evaluation.json").read_text())
    digest = evaluation["dataset"]["ground_truth_sha256"]
    write_noise(project / SEED_NOISE, [now.assign(iou=now["iou"] + step / 100) for step in range(3)], digest)
    text = run("microseg", "review", "HEAD", cwd=project, PYTHONPATH=str(project / "src")).stdout
    # Each seed moves everything by 0.01: t(0.975; 2) * sqrt(2) * 0.01.
    assert "The mean IoU changes by +0.0000, no more than the noise of seeds (0.0608)." in text
    assert "changes cannot be distinguished from noise" not in text
