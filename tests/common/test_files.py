"""Outputs are complete or absent, and a failure keeps the previous ones."""

import csv
import json

import pytest

from microseg.common.files import is_file_name, output_file, output_folder, write_csv, write_json


def test_a_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with output_file(path) as partial:
        partial.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_half_written(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), output_file(path) as partial:
        partial.write_text("half\udc80", encoding="utf-8")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "stale.txt").touch()
    # What a killed run left behind is cleared away.
    (tmp_path / ".folder.partial").mkdir()
    (tmp_path / ".folder.partial" / "leftover.txt").touch()
    with output_folder(path) as partial:
        (partial / "new.txt").touch()
        assert (path / "stale.txt").exists()
    assert [entry.name for entry in path.iterdir()] == ["new.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old.txt").touch()
    with pytest.raises(RuntimeError), output_folder(path):
        raise RuntimeError
    assert (path / "old.txt").exists()
    assert list(tmp_path.iterdir()) == [path]


def test_json_refuses_values_that_it_does_not_have(tmp_path):
    write_json(tmp_path / "good.json", {"µ": 1})
    assert json.loads((tmp_path / "good.json").read_text(encoding="utf-8")) == {"µ": 1}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "bad.json", {"iou": float("nan")})
    assert not (tmp_path / "bad.json").exists()


def test_csv_quotes_what_needs_it(tmp_path):
    write_csv(tmp_path / "table.csv", ("a", "b"), [("x, y", 1.5)])
    assert (tmp_path / "table.csv").read_bytes() == b'a,b\n"x, y",1.5\n'


FORMULAS = ("=1+1", "@SUM(1,1)", "+cmd|' /C calc'!A0", "-2+3+HYPERLINK(1)", "\t=1", " =1")


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_of_a_csv_is_a_formula(tmp_path, cell):
    write_csv(tmp_path / "table.csv", ("a", "b"), [(cell, 1)])
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{cell}", "1"]


@pytest.mark.parametrize("cell", ["-1.5", "-20 C (2)", "+3e-5", "a=b", "", "-", "-5", None, -5, -0.25])
def test_other_cells_stay_as_they_are(tmp_path, cell):
    write_csv(tmp_path / "table.csv", ("a", "b"), [(cell, 1)])
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == ["" if cell is None else str(cell), "1"]


@pytest.mark.parametrize(
    "name",
    [
        *("CON.png", "con", "Nul.tar.gz", "COM1.tif", "lpt9", "AUX .png", "COM\N{SUPERSCRIPT TWO}.png"),
        *("a" * 201, "\N{MICRO SIGN}" * 101, "a\udcff.png", "=a.png", "a/b.png", "a:b.png", " a.png", ""),
    ],
)
def test_a_name_that_does_not_work_everywhere_is_no_file_name(name):
    assert not is_file_name(name)


@pytest.mark.parametrize(
    "name", ["CONTROL.png", "COM10.png", "a" * 196 + ".png", "-20C (2).tif", "\N{MICRO SIGN}.png"]
)
def test_other_names_are_file_names(name):
    assert is_file_name(name)
