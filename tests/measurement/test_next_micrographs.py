"""Which micrographs to correct next: the most uncertain ones, and a random sample of all."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.common.files import write_json
from microseg.console.program import main
from microseg.measurement.predictor import Predictor
from microseg.measurement.selection import Selected, select, write_next
from microseg.network.image_statistics import ImageStatistics

UNCERTAINTY = {f"{number}.png": number / 100 for number in range(20)}


def test_the_most_uncertain_come_first_and_random_ones_are_no_part_of_them():
    selected = select(UNCERTAINTY, 3, 2, seed=1)
    assert [one.reason for one in selected] == ["uncertain"] * 3 + ["random"] * 2
    drawn = [one.image for one in selected[3:]]
    others = [image for image in reversed(UNCERTAINTY) if image not in drawn]
    assert [one.image for one in selected[:3]] == others[:3]
    for one in selected:
        number = int(one.image.removesuffix(".png"))
        assert (one.uncertainty, one.rank) == (number / 100, 20 - number)
    assert select(dict(reversed(UNCERTAINTY.items())), 3, 2, seed=1) == selected


def test_every_micrograph_is_as_often_in_the_random_sample():
    samples = 2000
    drawn = [one.image for seed in range(samples) for one in select(UNCERTAINTY, 0, 5, seed)]
    counts = np.array([drawn.count(image) for image in UNCERTAINTY])
    assert counts.sum() == 5 * samples
    assert (abs(counts - samples / 4) < 4 * (samples * 3 / 16) ** 0.5).all()


def test_the_table_says_which_and_why(request_for, tmp_path):
    # The network sees grey above 128 as foreground: it is least sure of this one.
    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(tmp_path / "heat42" / "f.png")
    request = request_for(output=tmp_path / "next.csv")
    selected = write_next(request, 1, 5, seed=3)
    table = pd.read_csv(request.output)
    assert table.columns.tolist() == ["image", "reason", "uncertainty", "rank"]
    assert [Selected(*row) for row in table.itertuples(index=False)] == selected
    assert sorted(table["image"]) == ["a.png", "b.tif", "c.jpg", "d.png", "e.png", "f.png"]
    assert table.set_index("image").loc["f.png", "rank"] == 1
    assert table.set_index("image").loc["f.png", "uncertainty"] == pytest.approx(1, abs=1e-3)
    assert table["uncertainty"].between(0, 1).all()
    with pytest.raises(InputError, match=r"next\.csv: already exists; give another --output, or remove it"):
        write_next(request, 1, 1, seed=3)


def test_a_canvas_does_not_make_a_micrograph_certain(request_for, tmp_path):
    grey = np.full((60, 60), 128, np.uint8)
    Image.fromarray(grey).save(tmp_path / "heat42" / "f.png")
    grey[:, :30] = 0
    Image.fromarray(grey).save(tmp_path / "heat42" / "g.png")
    selected = {one.image: one for one in write_next(request_for(output=tmp_path / "next.csv"), 7, 0, seed=1)}
    assert {selected["f.png"].rank, selected["g.png"].rank} == {1, 2}


def test_more_than_there_are_is_refused(request_for, tmp_path):
    message = (
        "has 5 micrographs, fewer than the 4 uncertain and 2 random ones asked for; lower --count or --random"
    )
    with pytest.raises(InputError, match=message):
        write_next(request_for(output=tmp_path / "next.csv"), 4, 2, seed=1)
    assert not (tmp_path / "next.csv").exists()


def test_the_command_lists_them(request_for, tmp_path, monkeypatch, capsys):
    request = request_for()
    monkeypatch.chdir(tmp_path)
    given = ["next", str(request.folder), "--model", request.model, "--count", "1", "--random", "1"]
    with pytest.raises(SystemExit) as end:
        main(given)
    assert not end.value.code
    lines = capsys.readouterr().out.splitlines()
    assert ": uncertain, uncertainty " in lines[0]
    assert ": random, uncertainty " in lines[1]
    assert lines[2] == "Written: next.csv"
    with pytest.raises(SystemExit) as end:
        main([*given, "--random", "-1"])
    assert end.value.code == 2


def test_the_network_sees_micrographs_as_segment_shows_them(request_for, tmp_path, monkeypatch):
    request = request_for()
    statistics = ImageStatistics({}, (), 0.1, "um_per_pixel")
    write_json(Path(request.model) / "image_statistics.json", asdict(statistics))
    monkeypatch.chdir(tmp_path)
    given = ["next", str(request.folder), "--model", request.model, "--pixel-size", "0.2um"]
    with pytest.raises(SystemExit) as end:
        main([*given, "--random", "0"])
    assert "a.png: its pixel size is 0.2 um, but the model was trained at 0.1 um" in str(end.value.code)
    seen = []
    monkeypatch.setattr(
        Predictor, "logits", lambda _self, grey, factor, _valid: seen.append(factor) or grey - 128.0
    )
    with pytest.raises(SystemExit) as end:
        main([*given, "--random", "0", "--resample"])
    assert not end.value.code
    assert seen == [2] * 5
