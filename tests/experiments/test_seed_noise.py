"""The noise of seeds: computed by hand, in a simulation, and in the review of a change."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from microseg.common.errors import InputError
from microseg.experiments import review
from microseg.experiments.comparison import Comparison, Dataset, Point
from microseg.experiments.review import (
    OF_A_MICROGRAPH,
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
    mean, micrograph = seed_noise(tables, "ab12")
    # t(0.975; 2) = 4.3027, t(0.975; 4) = 2.7764
    assert mean == ("sigmoid", OF_THE_MEAN, "ab12", 3, pytest.approx(0.1), pytest.approx(0.60849, abs=1e-4))
    standard_deviation = math.sqrt(0.02)
    assert micrograph[4:] == (
        pytest.approx(standard_deviation),
        pytest.approx(2.7764 * math.sqrt(2) * standard_deviation, abs=1e-4),
    )


def test_seeds_alone_exceed_it_in_one_of_twenty_cases():
    random = np.random.default_rng(0)
    exceeded = []
    for _ in range(600):
        seeds = [table(sigmoid=list(0.7 + 0.05 * random.standard_normal(8))) for _ in range(7)]
        noticeable = next(iter(seed_noise(seeds[:5], "")))[5]
        exceeded.append(abs(seeds[5]["iou"].mean() - seeds[6]["iou"].mean()) > noticeable)
    assert 0.03 <= np.mean(exceeded) <= 0.07


def test_noise_of_other_micrographs_is_ignored(tmp_path):
    evaluation = tmp_path / "evaluation.json"
    evaluation.write_text(json.dumps({"dataset": {"ground_truth_sha256": "ab12"}}))
    write_noise(tmp_path / "noise.csv", [table(sigmoid=[0.4]), table(sigmoid=[0.6])], "ab12")
    noise = read_noise(tmp_path / "noise.csv", evaluation)
    assert set(noise) == {("sigmoid", OF_THE_MEAN), ("sigmoid", OF_A_MICROGRAPH)}
    write_noise(tmp_path / "noise.csv", [table(sigmoid=[0.4]), table(sigmoid=[0.6])], "cd34")
    assert read_noise(tmp_path / "noise.csv", evaluation) == {}
    assert read_noise(tmp_path / "nothing.csv", evaluation) == {}


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
