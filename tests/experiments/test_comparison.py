"""Only comparable experiments are compared, the others are named with the reason; crossings are where they are."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_1samp

from microseg.common.errors import InputError
from microseg.common.params_file import flat_params
from microseg.evaluation.intervals import holm
from microseg.experiments import comparison as comparison_module
from microseg.experiments.comparison import Comparison, Dataset, compare, read_dataset, read_image_table
from microseg.experiments.crossings import Micrographs, chance_of_lead, crossings_of, describe, rank_methods
from microseg.experiments.dvc_access import FINISHED, Cell, Row, cell
from microseg.experiments.sweep_report import write_report

from pipeline_files import ROOT

PARAMETERS = {key: cell(value) for key, value in flat_params(ROOT / "params.yaml").items()}


def row(
    name: str,
    state: str = FINISHED,
    scores: tuple[float, float] = (0.5, 0.4),
    dataset: str = "synthetic",
    truth: str = "ab12",
    **cells: Cell,
) -> Row:
    """Make a row of DVC's table: its cells are named as there, but with "_" for the first "."."""
    metrics: dict[str, Cell] = {
        "dataset.source": dataset,
        "dataset.split": "test",
        "dataset.ground_truth_sha256": truth,
        # As DVC writes it where another metrics file has the key too.
        "reports/evaluation/evaluation.json:dataset.images": 20.0,
        "train": 64.0,
        "validation": 16.0,
    }
    for method, mean in zip(("sigmoid", "morphology"), scores, strict=True):
        rest = {
            "std_iou": 0.1,
            "median_iou": mean,
            "pooled_iou": mean,
            "fraction_above_095": 0.0,
            "fraction_zero": 0.2,
        }
        metrics |= {f"{method}.{score}": value for score, value in {"mean_iou": mean, **rest}.items()}
    return Row(
        name,
        name[:7] or "workspace",
        state,
        {**metrics, **PARAMETERS, **{key.replace("_", ".", 1): cell(value) for key, value in cells.items()}},
    )


def series(*means: tuple[float, float, float]) -> Comparison:
    """Compare experiments of given sample size and mean IoU of sigmoid and of morphology."""
    rows = [row(f"n{size:g}", scores=(first, second), split_sample_size=size) for size, first, second in means]
    return compare([row(""), *rows], "split.sample_size", {})


def test_experiments_that_differ_in_the_parameter_only_are_compared_in_its_order() -> None:
    comparison = series((100, 0.6, 0.5), (20, 0.2, 0.3), (50, 0.4, 0.4))
    assert comparison.values == [20, 50, 100]
    assert comparison.seeds("sigmoid", "mean_iou") == [[0.2], [0.4], [0.6]]
    assert comparison.excluded == ()
    assert str(comparison.dataset) == "20 test micrographs of synthetic"


def test_the_others_are_excluded_with_the_reason() -> None:
    rows = [
        row(""),
        row("n1", split_sample_size=1.0),
        row("n2", split_sample_size=2.0),
        row("n3", state="failed", split_sample_size=3.0),
        row("n4", state="queued", split_sample_size=4.0),
        row("n5", split_sample_size=5.0, train_lr=0.25),
        row("n6", split_sample_size=6.0, truth="cd34"),
        row("n7", split_sample_size=7.0, download_source="folder"),
        row("n8", split_sample_size=8.0, dataset="folder"),
        row("n2-again", split_sample_size=2.0, train_num_workers=7.0),
        Row("empty", "1234567", FINISHED, {**PARAMETERS, "split.sample_size": 9.0}),
    ]
    comparison = compare(rows, "split.sample_size", {})
    lr = PARAMETERS["train.lr"]
    assert [point.name for point in comparison.points] == ["n1", "n2"]
    assert dict(comparison.excluded) == {
        "n3": "failed",
        "n4": "queued",
        "n5": f"train.lr is 0.25, not {lr}",
        "n6": "other test micrographs",
        "n7": "other data source: download.source is folder, not synthetic",
        "n8": "other data source: folder, not synthetic",
        "n2-again": "same settings as n2",
        "empty": "no evaluation",
    }


def test_a_condition_replaces_the_workspace_value_and_determines_the_dataset() -> None:
    rows = [row("")]
    rows += [
        row(f"n{n}", split_sample_size=float(n), download_source="folder", dataset="mine", truth="ef")
        for n in (4, 8)
    ]
    comparison = compare(rows, "split.sample_size", {"download.source": "folder"})
    assert comparison.dataset.source == "mine"
    with pytest.raises(InputError, match=r"there are 0[^$]*n4: other data source"):
        compare(rows, "split.sample_size", {})


def test_evaluations_from_before_the_choice_of_a_foreground_are_read_like_later_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = {"source": "folder", "split": "test", "images": 5, "ground_truth_sha256": "ab12"}
    for written in (dataset, dataset | {"foreground": None}, dataset | {"foreground": ["network"]}):
        text = json.dumps({"dataset": written})
        monkeypatch.setattr(comparison_module, "file_at", lambda *_, text=text: text)
        assert read_dataset(None) == Dataset("folder", "test", 5, "ab12")


def test_groups_are_text_whatever_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = ["NA", "None", "nan", "3", "3.0", ""]
    rows = [f"{number}.png,sigmoid,0.5,,{group},1\n" for number, group in enumerate(groups)]
    table = "".join(["image,method,iou,border_distance,group,hausdorff95\n", *rows])
    monkeypatch.setattr(comparison_module, "file_at", lambda *_: table)
    read = read_image_table(None)
    assert read is not None
    assert list(read["group"]) == groups
    assert read["border_distance"].isna().all()
    assert read["iou"].dtype == float


def test_a_sample_of_all_counts_its_micrographs() -> None:
    comparison = compare([row(""), row("n10", split_sample_size=10.0), row("nall")], "split.sample_size", {})
    assert comparison.values == [10, 80]
    unknown = row("nall", train="None")
    with pytest.raises(InputError, match="does not have the number of micrographs"):
        compare([row(""), row("n10", split_sample_size=10.0), unknown], "split.sample_size", {})


def test_experiments_of_the_same_name_in_several_commits_are_distinguished() -> None:
    first, second = (Row("n10", commit, FINISHED, row("").cells) for commit in ("aaaaaaa", "bbbbbbb"))
    comparison = compare([row(""), first, second, row("n5", split_sample_size=5.0)], "split.sample_size", {})
    assert comparison.excluded == (("n10 (bbbbbbb)", "same settings as n10 (aaaaaaa)"),)


def test_other_values_than_numbers_are_categories() -> None:
    rows = [row(""), row("bce", train_loss="bce", scores=(0.3, 0.4)), row("dice", train_loss="dice_bce")]
    comparison = compare(rows, "train.loss", {})
    assert not comparison.is_numeric
    assert comparison.values == [0, 1]
    assert "fewer than 3 seeds" in describe(comparison, rank_methods(comparison, {}))


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        # From -0.1 at 20 to 0.3 at 60: zero a quarter of the way, at 30; then to -0.1 at 100: zero at 90.
        ([(20, -0.1), (60, 0.3), (100, -0.1)], [(30, "sigmoid"), (90, "morphology")]),
        ([(1, -0.1), (2, 0.0), (3, 0.1)], [(2, "sigmoid")]),
        ([(1, -0.1), (2, 0.0), (4, 0.0), (5, 0.1)], [(3, "sigmoid")]),
        ([(1, -0.1), (2, 0.0), (3, -0.1)], []),
        ([(1, 0.1), (2, 0.2)], []),
        ([(1, 0.0), (2, 0.0)], []),
    ],
)
def test_lines_cross_where_linear_interpolation_says(
    leads: list[tuple[float, float]], expected: list[tuple[float, str]]
) -> None:
    found = crossings_of(*zip(*leads, strict=True))
    assert [ahead for _, ahead in found] == [ahead for _, ahead in expected]
    assert [x for x, _ in found] == pytest.approx([x for x, _ in expected])


def seeded(noise: float, *means: tuple[float, float, float]) -> Comparison:
    """Compare three seeds at each of several sample sizes, whose mean IoU of sigmoid differ by `noise`."""
    rows = [
        row(
            f"n{size:g}-{seed}",
            scores=(first + (seed - 2) * noise, second),
            split_sample_size=size,
            train_seed=seed,
        )
        for size, first, second in means
        for seed in (1, 2, 3)
    ]
    return compare([row(""), *rows], "split.sample_size", {})


def test_experiments_that_differ_only_in_their_seed_share_one_value() -> None:
    comparison = seeded(0.01, (20, 0.2, 0.3), (60, 0.6, 0.3))
    assert comparison.values == [20, 60]
    assert comparison.has_seeds
    assert comparison.seeds("sigmoid", "mean_iou")[0] == pytest.approx([0.19, 0.2, 0.21])
    other_seed = compare(
        [row(""), *(row(f"e{n}", train_epochs=n, train_seed=7) for n in (1, 2))], "train.epochs", {}
    )
    assert len(other_seed.points) == 2


def test_a_condition_on_the_seed_selects_it() -> None:
    rows = [row(f"e{n}-{seed}", train_epochs=n, train_seed=seed) for n in (1, 2) for seed in (1, 2)]
    comparison = compare([row(""), *rows], "train.epochs", {"train.seed": 2.0})
    assert [point.name for point in comparison.points] == ["e1-2", "e2-2"]


def test_fewer_than_three_seeds_give_no_ranking() -> None:
    rows = [
        row(f"e{n}-{seed}", scores=(0.9, 0.1 + seed / 100), train_epochs=n, train_seed=seed)
        for n in (1, 2)
        for seed in (1, 2)
    ]
    comparison = compare([row(""), *rows], "train.epochs", {})
    assert rank_methods(comparison, {}) is None
    assert "differences cannot be distinguished from the noise of training" in describe(comparison, None)


def test_a_crossing_lies_between_the_values_at_which_each_method_is_ahead() -> None:
    # Leads of -0.1, -0.01 and 0.3 with deviations of 0.01 over seeds.
    comparison = seeded(0.01, (20, 0.2, 0.3), (28, 0.32, 0.33), (60, 0.6, 0.3))
    found = rank_methods(comparison, {})
    assert found is not None
    assert found.crossing is not None
    assert found.ahead == ("morphology", "", "sigmoid")
    assert (found.crossing.low, found.crossing.high, found.crossing.ahead) == (20, 60, "sigmoid")
    assert found.crossing.x == pytest.approx(28 + 32 * 0.01 / 0.31)
    assert "cross between 20 and 60, by linear interpolation at 29.03; above it sigmoid" in describe(
        comparison, found
    )


def test_a_crossing_within_the_noise_is_not_given() -> None:
    comparison = seeded(0.05, (20, 0.28, 0.3), (60, 0.9, 0.3))
    found = rank_methods(comparison, {})
    assert found is not None
    assert found.crossing is None
    assert found.ahead == ("", "sigmoid")
    assert "cannot be distinguished from noise" in describe(comparison, found)


def test_few_micrographs_leave_undecided_what_seeds_alone_would_decide() -> None:
    comparison = seeded(0.0001, (20, 0.29, 0.3), (60, 0.6, 0.3))
    alone = rank_methods(comparison, {})
    # On four micrographs the lead of -0.01 at 20 is made of 0.2, -0.08, -0.08 and -0.08.
    at_20 = {"sigmoid": [0.5, 0.22, 0.22, 0.22], "morphology": [0.3] * 4}
    at_60 = {"sigmoid": [0.6, 0.61, 0.6, 0.6], "morphology": [0.3] * 4}
    micrographs = {
        point.name: Micrographs(at_20 if point.x == 20 else at_60, [""] * 4) for point in comparison.points
    }
    both = rank_methods(comparison, micrographs)
    assert alone is not None
    assert both is not None
    assert alone.ahead == ("morphology", "sigmoid")
    assert both.ahead == ("", "sigmoid")
    assert (alone.units, both.units) == ("seeds", "seeds and micrographs")


def test_seeds_alone_are_tested_by_students_t() -> None:
    leads = np.array([0.01, 0.03, 0.05])
    assert chance_of_lead(leads, []) == pytest.approx(ttest_1samp(leads, 0).pvalue)
    assert chance_of_lead(np.array([0.01, 0.03]), []) == 1


def test_holm_by_hand() -> None:
    # 3 * 0.01, 2 * 0.04 and 0.045, which is not below the one before.
    assert holm([0.045, 0.01, 0.04]) == pytest.approx([0.08, 0.03, 0.08])


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_report_on_methods_that_are_alike_rarely_says_that_one_is_ahead(seeds: int) -> None:
    """Four values, twenty micrographs; the lead varies with the seed, the micrograph, and by itself."""
    random = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(100):
        chances = []
        for _ in range(4):
            lead = (
                random.normal(0, 0.02, (seeds, 1))
                + random.normal(0, 0.02, 20)
                + random.normal(0, 0.02, (seeds, 20))
            )
            micrographs = [Micrographs({"sigmoid": one, "morphology": [0.0] * 20}, [""] * 20) for one in lead]
            chances.append(chance_of_lead(lead.mean(axis=1), micrographs))
        wrong += min(holm(chances)) <= 0.05
    assert wrong <= 11  # at 5 of 100, more come in one of two hundred cases


def test_the_report_is_a_figure_a_table_and_text_and_reproducible(tmp_path: Path) -> None:
    comparison = seeded(0.01, (10, 0.2, 0.3), (1000, 0.6, 0.5))
    written = [write_report(comparison, {}, tmp_path / folder, ", train.epochs=20") for folder in ("one", "two")]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()
    figure, table, markdown = written[0]
    with Image.open(figure) as picture:
        assert picture.format == "PNG"
        assert picture.size == (1100, 800)
    lines = table.read_text().splitlines()
    assert lines[0].startswith("experiment,split.sample_size,seed,method,mean_iou,std_iou")
    assert lines[3] == "n10-2,10,2,sigmoid,0.2,0.1,0.2,0.2,0.0,0.2"
    assert len(lines) == 13
    text = markdown.read_text()
    # 4.303 * 0.01 / sqrt(3) = 0.0248, a little less below the mean than above it.
    assert "| 10 | sigmoid | 3 | 0.200 | 0.176 to 0.226 |" in text
    assert "| n1000-1 | 1000 | 1 | morphology | 0.500 | 0.100 |" in text
    assert "train.epochs=20" in text
    assert "standard deviation over micrographs" in text
    # Half-way, as the lead goes from -0.1 to 0.1.
    assert "cross between 10 and 1000, by linear interpolation at 505" in text
