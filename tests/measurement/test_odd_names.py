"""Names that other programs take for formulas or devices: written as text, or refused before the work."""

import csv
import os
import sys

import pytest

from microseg.common.errors import InputError
from microseg.measurement.run import run

from drawn_micrographs import write_disks

SPECIMENS = ["=1+1", "a$^{$b", "_hidden", "$5", "-20 C"]


@pytest.mark.filterwarnings("error")
def test_specimens_and_columns_with_odd_names_are_text_in_every_table_and_figure(request_for, tmp_path):
    images = ["a.png", "b.tif", "c.jpg", "d.png", "e.png"]
    lines = [f"{image},{specimen},@SUM(1)" for image, specimen in zip(images, SPECIMENS, strict=True)]
    (tmp_path / "fields.csv").write_text("\n".join(["image,specimen,=etching", *lines]))
    request = request_for(fields=tmp_path / "fields.csv")
    run(request)
    with (request.output / "fields.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["specimen"] for row in rows] == ["'=1+1", *SPECIMENS[1:]]
    assert {row["'=etching"] for row in rows} == {"'@SUM(1)"}
    with (request.output / "specimens.csv").open(newline="") as file:
        assert {row["specimen"] for row in csv.DictReader(file)} == {"'=1+1", *SPECIMENS[1:]}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such file there")
@pytest.mark.parametrize("name", ["CON.png", "nul.tif", "=a.png", "a" * 200 + ".png"])
def test_a_name_that_cannot_name_outputs_everywhere_is_refused(request_for, tmp_path, name):
    write_disks(tmp_path / "heat42", [name])
    with pytest.raises(InputError, match="this name does not work on every system and in every table; rename it"):
        run(request_for())


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode here")
@pytest.mark.parametrize("name", [b"z\xff.png", b"caf\xe9/z.png"])
def test_a_name_or_folder_that_is_not_utf_8_is_refused(request_for, tmp_path, name):
    write_disks(tmp_path / "heat42", [os.fsdecode(name)])
    with pytest.raises(InputError, match="this name does not work on every system"):
        run(request_for())
