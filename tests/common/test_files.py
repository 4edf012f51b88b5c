"""Outputs are complete or absent, and a failure keeps the previous ones."""

import json

import pytest

from microseg.common.files import output_file, output_folder, write_csv, write_json


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
