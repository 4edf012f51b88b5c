"""Folds that others published: each of them is the test set once, and nothing else is."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, write_polygons
from microseg.common.errors import InputError
from microseg.common.params_file import read_params
from microseg.console.program import main
from microseg.experiments import dvc_access, sweep
from microseg.experiments.crossval import published_fold_settings
from microseg.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    draw_beside,
    draw_split,
    fold_of_column,
    folds_of_column,
    images_of,
)

from pipeline_files import ROOT

FOLD_OF = {f"{number:02}.png": str(number % 12) for number in range(36)}


def test_every_published_fold_is_the_test_set_once():
    assert folds_of_column(FOLD_OF) == [str(number) for number in range(12)]  # 10 after 2
    for number in range(12):
        test = fold_of_column(FOLD_OF, number)
        assert test == {f"{number:02}.png", f"{number + 12}.png", f"{number + 24}.png"}
        draw = partial(draw_split, sample_size=None, validation_size=0.2, seed=1)
        rows = draw_beside(test, dict.fromkeys(FOLD_OF, ""), draw)
        assert set(images_of(rows, TEST)) == test
        assert sorted(row.image for row in rows) == sorted(FOLD_OF)
        assert (len(images_of(rows, TRAIN)), len(images_of(rows, VALIDATION))) == (26, 7)


def test_names_of_folds_come_after_numbers():
    assert folds_of_column({"a": "heat 2", "b": "10", "c": "9", "d": "A"}) == ["9", "10", "A", "heat 2"]


@pytest.mark.parametrize(
    ("values", "number", "message"),
    [
        ({"a": "1", "b": ""}, 0, "split.fold_column: b has no value; write its fold into every line"),
        (
            {"a": "1", "b": "1"},
            0,
            "split.fold_column: all micrographs are in one fold, 1; two are needed at least",
        ),
        ({"a": "1", "b": "4"}, 2, "split.fold is 2, but of 2 folds the last one is 1"),
    ],
)
def test_unusable_folds_are_refused(values, number, message):
    with pytest.raises(InputError, match=message):
        fold_of_column(values, number)


def test_copies_of_a_picture_in_two_folds_are_refused():
    with pytest.raises(InputError, match=r"one picture is in different splits, as a \(1\), b \(2\); give all the"):
        fold_of_column({"a": "1", "b": "2", "c": "2"}, 0, [["a", "b"]])
    assert fold_of_column({"a": "1", "b": "2", "c": "2"}, 1, [["b", "c"]]) == {"b", "c"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split.folds": 3}, "fold_column and folds exclude each other; set one of them to null"),
        ({"split.from_column": "part"}, "from_column and fold_column exclude each other"),
        ({"split.group_by": ["specimen"]}, "fold_column and group_by exclude each other"),
    ],
)
def test_other_ways_to_split_are_refused_beside_them(change, message):
    with pytest.raises(InputError, match=message):
        read_params(ROOT / "params.yaml", {"split.fold_column": "fold"} | change)
    assert read_params(ROOT / "params.yaml", {"split.fold_column": "fold", "split.fold": 5}).split.fold == 5


def test_a_cross_validation_has_as_many_folds_as_the_annotated_micrographs(tmp_path: Path, monkeypatch):
    (tmp_path / "data" / "raw").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    polygon = AnnotatedPolygon((2, 2), [(1, 1), (4, 1), (4, 4)])
    write_polygons(Path("data/polygons.jsonl"), [ImageMask(name, [polygon]) for name in ("a.png", "b.png")])
    table = Path("data/raw/metadata.csv")
    table.write_text("image_url,fold\na.png,A\nb.png, B \nnot_annotated.png,C\n", encoding="utf-8")
    assert published_fold_settings("fold", ["train.epochs=5"]) == [
        "split.fold_column=fold",
        "split.fold=0,1",
        "train.epochs=5",
    ]
    with pytest.raises(InputError, match="no column folds; there are image_url, fold"):
        published_fold_settings("folds", [])


@pytest.mark.parametrize("option", [["--folds", "5"], ["--group-by", "specimen"]])
def test_drawn_folds_are_refused_beside_them(option, capsys):
    with pytest.raises(SystemExit) as end:
        main(["crossval", "--fold-column", "fold", *option])
    assert end.value.code == 2
    assert "--fold-column: its folds are given; omit --folds and --group-by" in capsys.readouterr().err


def test_a_fresh_clone_gets_the_table_of_its_folds_first(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    swept = []

    def reproduce(*stages: str) -> None:
        assert stages == ("parse_csv",)
        Path("data/raw").mkdir(parents=True)
        write_polygons(Path("data/polygons.jsonl"), [ImageMask(name, []) for name in ("a.png", "b.png")])
        Path("data/raw/metadata.csv").write_text("image_url,fold\na.png,0\nb.png,1\n", encoding="utf-8")

    monkeypatch.setattr(dvc_access, "reproduce", reproduce)
    monkeypatch.setattr(sweep, "run_sweep", lambda experiments, *_, **__: swept.extend(experiments) or ["one"])
    with pytest.raises(SystemExit):
        main(["crossval", "--fold-column", "fold"])
    assert [one.values["split.fold"] for one in swept] == [0, 1]
