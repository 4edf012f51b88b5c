"""Specimens in sub-folders with files of the same names, and files that are ignored."""

import json

import pandas as pd
import pytest

from microseg.measurement.run import run
from microseg.micrographs.images import read_mask

from drawn_micrographs import write_disks


def test_sub_folders_are_specimens_and_results_keep_them_in_their_names(request_for, tmp_path):
    names = ["heat42/IMG_1.png", "heat42/IMG_2.png", "heat43/IMG_1.png"]
    masks = write_disks(tmp_path / "batch", names)
    (tmp_path / "scales.csv").write_text(
        "image,pixel_size,unit\nheat42\\IMG_1.PNG,0.5,um\nIMG_2.png,0.5,um\nheat43/IMG_1.png,0.5,um\n"
    )
    request = request_for(folder=tmp_path / "batch", scales=tmp_path / "scales.csv")
    run(request)
    fields = pd.read_csv(request.output / "fields.csv")
    assert fields["image"].tolist() == names
    assert fields["specimen"].tolist() == ["heat42", "heat42", "heat43"]
    assert set(pd.read_csv(request.output / "islands.csv")["image"]) <= set(names)
    for name in names:
        assert (read_mask(request.output / "masks" / name) == masks[name]).all()
    page = (request.output / "report.html").read_text(encoding="utf-8")
    assert 'href="overlays/heat43/IMG_1.jpg"' in page
    assert (request.output / "overlays/heat43/IMG_1.jpg").is_file()


def test_heat_2_comes_before_heat_11_in_tables_and_figures(request_for, tmp_path):
    names = ["heat 2/IMG_9.png", "heat 2/IMG_10.png", "heat 11/IMG_1.png"]
    write_disks(tmp_path / "batch", names)
    results = run(request_for(folder=tmp_path / "batch"))
    assert results.fields["image"].tolist() == names
    assert list(results.sensitivity) == ["heat 2", "heat 11"]


def test_an_interrupted_run_of_sub_folders_is_resumed(request_for, tmp_path, monkeypatch):
    write_disks(tmp_path / "batch", ["heat42/a.png", "heat43/a.png"])
    request = request_for(folder=tmp_path / "batch")
    with monkeypatch.context() as patch:
        patch.setattr("microseg.measurement.run._write_tables", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(request)
    monkeypatch.setattr("microseg.measurement.segmentation.RunContext.record", None)  # nothing is done again
    results = run(request_for(folder=tmp_path / "batch", resume=True))
    assert [record["values"]["islands"] for record in results.records] == [6, 6]


def test_ignored_files_are_mentioned(request_for, tmp_path, caplog):
    (tmp_path / "heat42/x.czi").write_bytes(b"x")
    request = request_for()
    run(request)
    sentence = "Ignored files that are not PNG, TIFF, JPEG or BMP: 1 x .czi"
    assert sentence in caplog.text
    assert sentence in (request.output / "report.html").read_text(encoding="utf-8")
    assert json.loads((request.output / "summary.json").read_text())["ignored"] == sentence
