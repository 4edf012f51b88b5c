"""Two experiments on the same micrographs: differences by hand, what decides them, and what is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from microseg.common.errors import InputError
from microseg.experiments.comparison import Dataset
from microseg.experiments.paired import Evaluated, differences, read_evaluated, to_markdown

from project_copy import run

MEASURED_ON = Dataset("folder", "test", 40, "ab12")


def evaluated(name, true_positives, groups=None):
    """An experiment with micrographs of 100 annotated pixels, nothing invented, and the same for both methods."""
    count = len(true_positives)
    one_method = pd.DataFrame(
        {
            "image": [f"IMG_{number:05d}.png" for number in range(count)],
            "iou": np.asarray(true_positives) / 100,
            "dice": 2 * np.asarray(true_positives) / (100 + np.asarray(true_positives)),
            "true_positives": true_positives,
            "false_positives": 0,
            "false_negatives": 100 - np.asarray(true_positives),
            "islands_found": 1,
            "islands_missed": 1,
            "islands_invented": 2,
            "islands_covered": np.asarray(true_positives) / 100,
            "group": groups or [""] * count,
        }
    )
    table = pd.concat([one_method.assign(method=method) for method in ("sigmoid", "morphology")])
    return Evaluated(name, dataclasses.replace(MEASURED_ON, images=count), table)


def of(found, score):
    return next(one for one in found if (one.method, one.score) == ("sigmoid", score))


def test_a_small_but_steady_difference_is_decided():
    random = np.random.default_rng(0)
    before = random.integers(30, 90, 40)
    found = differences(evaluated("A", before), evaluated("B", before + [1, 1, 0, 2] * 10))
    for score in ("mean IoU", "pooled IoU"):
        assert of(found, score).difference.value == pytest.approx(0.01)
        assert of(found, score).is_decided
    assert of(found, "mean IoU").p_value < 0.001
    assert of(found, "mean IoU").more_needed is None


def test_an_undecided_one_says_how_many_micrographs_would_decide():
    # Differences of +3 and -1 by turns: mean 1, deviation 2. To see it four times in five at a 5 % level takes
    # ((1.96 + 0.84) * 2 / 1)^2 = 31.4 micrographs.
    before = np.full(8, 50)
    found = differences(evaluated("A", before), evaluated("B", before + np.array([3, -1] * 4)))
    undecided = of(found, "mean IoU")
    assert undecided.difference.value == pytest.approx(0.01)
    assert not undecided.is_decided
    assert 31 - 8 - 10 <= undecided.more_needed <= 31 - 8 + 15


def test_islands_that_are_the_same_do_not_differ():
    found = differences(evaluated("A", [50, 60, 70]), evaluated("B", [51, 60, 70]))
    islands = of(found, "F1 of the islands")
    assert (islands.first, islands.second) == (pytest.approx(2 / 5), pytest.approx(2 / 5))
    assert islands.difference.value == 0
    assert islands.more_needed is None


def test_micrographs_of_one_group_count_once():
    before = np.full(12, 50)
    after = before + np.repeat([3, 1, -1], 4)
    alone = of(differences(evaluated("A", before), evaluated("B", after)), "mean IoU")
    groups = [*["first"] * 4, *["second"] * 4, *["NA"] * 4]
    found = differences(evaluated("A", before, groups), evaluated("B", after, groups))
    grouped = of(found, "mean IoU")
    assert (alone.units, alone.unit) == (12, "micrographs")
    assert (grouped.units, grouped.unit) == (3, "groups")
    width = [one.difference.interval.high - one.difference.interval.low for one in (alone, grouped)]
    assert width[1] > 2 * width[0]
    # Wilcoxon's test takes the twelve micrographs for independent.
    assert (alone.p_value is None, grouped.p_value is None) == (False, True)
    assert f"about {grouped.more_needed} more groups would decide it" in to_markdown(
        evaluated("A", before, groups), evaluated("B", after, groups), found
    )


def test_two_groups_give_no_verdict():
    groups = [*["first"] * 10, *["second"] * 10]
    before = np.full(20, 50)
    pair = evaluated("A", before, groups), evaluated("B", before + [5, 6] * 10, groups)
    found = differences(*pair)
    assert of(found, "mean IoU").difference.interval is None
    text = to_markdown(*pair, found)
    assert "undecided: no interval over 2 groups" in text
    assert "better" not in text


def test_where_nothing_differs_a_verdict_is_rare():
    """Two experiments alike, on micrographs whose differences are more of the group than of their own."""
    random = np.random.default_rng(0)
    decided = 0
    for count in [2, 3, 5] * 25:
        groups = [f"steel {number}" for number in range(count) for _ in range(8)]
        before = random.integers(400, 900, 8 * count) / 10
        shift = np.repeat(random.normal(0, 3, count), 8) + random.normal(0, 1, 8 * count)
        found = differences(evaluated("A", before, groups), evaluated("B", before + shift, groups))
        decided += of(found, "mean IoU").is_decided
    assert decided <= 7  # of 50 with an interval, more come in one of two hundred cases


def test_experiments_on_other_micrographs_are_refused():
    first, second = evaluated("A", [50]), evaluated("B", [50])
    other = dataclasses.replace(second, dataset=dataclasses.replace(second.dataset, ground_truth_sha256="cd34"))
    with pytest.raises(InputError, match=r"A was evaluated on 1 test micrographs of .* and B on .* ab12 and cd34"):
        differences(first, other)


def test_test_scores_are_pointed_out():
    first, second = evaluated("A", [50, 60]), evaluated("B", [51, 60])
    text = to_markdown(first, second, differences(first, second))
    assert "These are test scores" in text
    assert "## B against A" in text


def test_the_workspace_is_compared_with_a_commit(finished):
    text = run("microseg", "compare", "HEAD", cwd=finished, PYTHONPATH=str(finished / "src")).stdout
    assert "## workspace against HEAD" in text
    assert "| sigmoid | mean IoU |" in text
    assert text.count("no difference") == 10


def test_an_experiment_that_is_not_there_is_refused(finished, monkeypatch):
    monkeypatch.chdir(finished)
    with pytest.raises(InputError, match="nowhere: no such experiment"):
        read_evaluated("nowhere")
