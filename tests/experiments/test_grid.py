"""The settings of a sweep become experiments with descriptive names and valid values."""

from pathlib import Path

import pytest

from microseg.common.errors import InputError
from microseg.common.params_file import flat_params, read_params
from microseg.experiments.dvc_access import FINISHED, Cell, Row, cell
from microseg.experiments.settings import build_grid, parse_setting
from microseg.experiments.sweep import check_names

from pipeline_files import ROOT

PARAMS = ROOT / "params.yaml"


def names(*settings: str) -> list[str]:
    return [one.name for one in build_grid(settings, PARAMS)]


def test_the_grid_holds_every_combination_with_its_parameters() -> None:
    grid = build_grid(["split.sample_size=25,50", "train.epochs=3,4"], PARAMS)
    assert [one.name for one in grid] == ["n25-e3", "n25-e4", "n50-e3", "n50-e4"]
    assert grid[1].overrides == ("split.sample_size=25", "train.epochs=4")
    unchanged = flat_params(PARAMS)
    assert grid[1].values == {**unchanged, "split.sample_size": 25, "train.epochs": 4}


@pytest.mark.parametrize(
    ("foreground", "in_the_table"),
    [("1", 1.0), ("cementite", "cementite"), ("[1, 3]", "[1, 3]"), ("[a, b]", "['a', 'b']")],
)
def test_an_experiment_that_exists_is_known_again_by_the_values_of_dvcs_table(
    foreground: str, in_the_table: Cell
) -> None:
    """Checked parameters are the names of classes, whichever of these forms the file has."""
    (one,) = build_grid(["download.source=folder", f"download.foreground={foreground}"], PARAMS)
    cells = {key: cell(value) for key, value in one.values.items()} | {"download.foreground": in_the_table}
    check_names([one], [Row(one.name, "0123456", FINISHED, cells)])
    other = Row(one.name, "0123456", FINISHED, cells | {"download.foreground": 2.0})
    with pytest.raises(InputError, match=r"already exists in which download\.foreground is 2\.0, not"):
        check_names([one], [other])


def test_names_have_sample_size_and_epochs_even_if_not_swept() -> None:
    epochs = read_params(PARAMS).train.epochs
    assert names("train.lr=0.01,1e-5,2") == [f"nall-e{epochs}-lr{lr}" for lr in ("0.01", "1e-05", "2")]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.loss=bce", "n9-e1-loss-bce"),
        ("train.compile=true", "n9-e1-compile-true"),
        ("train.max_grad_norm=null", "n9-e1-max_grad_norm-none"),
        ("split.group_by=[type, temperature]", "n9-e1-group_by-type-temperature"),
        ("download.path=../my data/set_1", "n9-e1-path-my-data-set-1"),
        ("train.augment.blur_sigma=0.5", "n9-e1-blur_sigma0.5"),
    ],
)
def test_names_have_the_values_that_differ_from_the_parameter_file(setting: str, expected: str) -> None:
    assert names("split.sample_size=9", "train.epochs=1", setting) == [expected]


def test_values_of_the_parameter_file_are_not_in_the_name() -> None:
    lr = read_params(PARAMS).train.lr
    assert names("split.sample_size=9", "train.epochs=1", f"train.lr={lr}") == ["n9-e1"]


def test_names_of_many_settings_stay_short_and_different() -> None:
    many = [
        "split.sample_size=9",
        "train.epochs=1",
        "download.path=data/micrographs_of_the_heats_41_to_48_cleaned_and_cropped",
        "split.from_column=part",
        "train.encoder=timm-tf_efficientnet_lite0",
        "train.encoder_weights=imagenet",
        "train.architecture=unetplusplus",
        "train.input_normalization=imagenet",
        "predict.tta=hflip",
    ]
    one, other = names(*many, "train.seed=1,2")
    assert len(one) == len(other) == 120
    assert one[:111] == other[:111]
    assert one.startswith("n9-e1-path-data-micrographs-of-the-heats")
    assert one != other


def test_a_comma_in_brackets_is_part_of_the_value() -> None:
    key, values = parse_setting("split.group_by=[type, temperature],[type],[]")
    assert (key, values) == ("split.group_by", ["[type, temperature]", "[type]", "[]"])


def test_equal_values_make_one_experiment() -> None:
    assert names("split.sample_size=9", "train.epochs=1", "train.lr=0.5,0.50") == ["n9-e1-lr0.5"]


def test_what_follows_a_preset_changes_it() -> None:
    preset = ["split.sample_size=9", "train.epochs=1", "train.lr=0.5"]
    assert names(*preset, "train.epochs=2") == ["n9-e2-lr0.5"]
    assert names(*preset, "train.epochs=2,3") == ["n9-e2-lr0.5", "n9-e3-lr0.5"]
    (experiment,) = build_grid([*preset, "train.epochs=2"], PARAMS)
    assert experiment.overrides == ("split.sample_size=9", "train.epochs=2", "train.lr=0.5")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.epoch=1"], "did you mean train.epochs?"),
        (["train.epochs=0"], "train.epochs: input should be greater than or equal to 1"),
        (["train.epochs=2.5"], "train.epochs: input should be a valid integer"),
        (["train.epochs"], "KEY=VALUE"),
        (["train.epochs=1,"], "KEY=VALUE"),
        (["train.epochs=1,2", "train.epochs=3"], "train.epochs is given twice"),
        (["split.group_by=[type"], "not a value"),
        (["download.path=a/b,a-b"], "would be called"),
    ],
)
def test_invalid_settings_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        build_grid(settings, PARAMS)


def test_a_missing_parameter_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such parameter file"):
        build_grid(["train.epochs=1"], tmp_path / "params.yaml")
