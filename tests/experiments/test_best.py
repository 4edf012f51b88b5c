"""The best experiment is chosen on validation, among those with the same data; its test score alone is shown."""

import pytest

from microseg.common.errors import InputError
from microseg.common.params_file import flat_params
from microseg.experiments.best import choose, to_text
from microseg.experiments.dvc_access import FINISHED, Row, cell

from pipeline_files import ROOT

PARAMETERS = {key: cell(value) for key, value in flat_params(ROOT / "params.yaml").items()}


def row(name, validation=0.5, test=0.5, state=FINISHED, part="test", **changes):
    cells = {
        "dataset.source": "synthetic",
        "dataset.split": part,
        "dataset.ground_truth_sha256": "ab12",
        "dataset.images": 20.0,
        "metrics/train.json:validation_iou": validation,
        "sigmoid.mean_iou": test,
        "morphology.mean_iou": test / 2,
    }
    changed = {key.replace("_", ".", 1): cell(value) for key, value in changes.items()}
    return Row(name, name or "workspace", state, cells | PARAMETERS | changed)


def test_the_highest_validation_score_is_chosen_whatever_the_test_says():
    choice = choose([row(""), row("a", 0.6, 0.9), row("b", 0.7, 0.4321), row("c", 0.5, 0.95)], {})
    assert choice.candidates == (("b", 0.7), ("a", 0.6), ("c", 0.5))
    assert choice.test_scores == {"sigmoid": 0.4321, "morphology": 0.4321 / 2}
    text = to_text(choice)
    assert "0.4321" in text
    assert "0.9000" not in text
    assert "0.9500" not in text


def test_other_data_another_split_and_what_has_not_finished_are_left_out():
    rows = [
        row(""),
        row("a"),
        row("other-seed", 0.9, seed=7),
        row("fewer", 0.9, split_sample_size=10),
        row("running", 0.9, state="running"),
        row("untrained", "None"),
    ]
    choice = choose(rows, {})
    assert [name for name, _ in choice.candidates] == ["a"]
    assert dict(choice.excluded) == {
        "other-seed": "seed is 7, not 2021",
        "fewer": "split.sample_size is 10, not null",
        "running": "running",
        "untrained": "no validation score",
    }
    assert choose(rows, {"split.sample_size": 10.0}).candidates == (("fewer", 0.9),)


def test_where_files_come_from_and_how_fast_they_are_read_excludes_nothing():
    rows = [row(""), row("mirror", download_mirrors=["https://mirror.example"]), row("b", download_manual_dir="d")]
    assert choose(rows, {}).excluded == ()


def test_scores_on_other_annotations_are_left_out_although_the_parameters_agree():
    def annotated(name, masks, **other):
        one = row(name, 0.9, **other)
        return Row(one.name, one.revision, one.state, {**one.cells, "data/masks": masks, "data/split.csv": "5711"})

    rows = [annotated("", "a1"), annotated("mine", "a1"), annotated("relabelled", "b2")]
    choice = choose(rows, {})
    assert [name for name, _ in choice.candidates] == ["mine"]
    assert choice.excluded == (("relabelled", "other data/masks"),)
    # Of another source the workspace has none: then those of the first experiment.
    rows = [annotated("", "a1"), *(annotated(name, "c3", download_source="folder") for name in ("one", "two"))]
    assert len(choose(rows, {"download.source": "folder"}).candidates) == 2


def test_a_score_on_the_micrographs_used_for_choosing_is_called_so():
    assert "biased upwards" in to_text(choose([row(""), row("a", part="validation")], {}))
    assert "biased upwards" not in to_text(choose([row(""), row("a")], {}))


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(InputError, match="no experiment to choose from"):
        choose([row("")], {})
