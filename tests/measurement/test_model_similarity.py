"""Micrographs that differ from the training set are flagged, as are those in it and duplicates."""

import json
import shutil
from dataclasses import asdict, replace

import pandas as pd
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.common.files import write_json
from microseg.measurement.model import out_of_range, scale_factor, seen_in_training
from microseg.measurement.results import find_duplicates
from microseg.measurement.run import run
from microseg.measurement.settings import Request, Settings
from microseg.micrographs.images import pixel_digest
from microseg.micrographs.pixel_size import parse_pixel_size
from microseg.network.image_statistics import ENTROPY, ImageStatistics, image_statistics

from drawn_micrographs import disks, write_disks, write_tiny_model

SEEN = ImageStatistics({"noise": (0.02, 0.04), "grey_median": (0.3, 0.5)}, ("abc",))


def test_a_statistic_outside_the_training_range_and_its_margin_is_reported_with_the_range():
    assert out_of_range({"noise": 0.0449, "grey_median": 0.26}, SEEN) == []
    assert out_of_range({"noise": 0.0451, "grey_median": 0.24}, SEEN) == [
        "differs from the training micrographs in its noise: 0.0451, there 0.02 to 0.04",
        "differs from the training micrographs in its median grey value: 0.24, there 0.3 to 0.5",
    ]


def test_a_network_more_certain_than_on_validation_micrographs_is_no_warning():
    seen = ImageStatistics({ENTROPY: (0.1, 0.2)}, ())
    assert out_of_range({ENTROPY: 0.0}, seen) == []
    assert out_of_range({ENTROPY: 0.23}, seen) == [
        "differs from the training micrographs in how unsure the network is: 0.23, there 0.1 to 0.2"
    ]


def test_training_micrographs_and_duplicates_are_recognised():
    assert seen_in_training("abc", SEEN) == ["in the training set, so the model has seen it"]
    assert seen_in_training("abd", SEEN) == []
    assert find_duplicates({"a.png": "1", "b.png": "2", "c.png": "1", "d.png": "1"}) == {
        "c.png": "a.png",
        "d.png": "a.png",
    }


@pytest.mark.usefixtures("sees_bright")
def test_warnings_are_in_the_table_and_first_in_the_report(tmp_path):
    write_disks(tmp_path / "fields", [f"{number}.png" for number in range(5)])
    model = write_tiny_model(tmp_path / "model")
    statistics = [image_statistics(disks(seed=seed)[0]) for seed in range(5)]
    ranges = {
        name: [min(one[name] for one in statistics), max(one[name] for one in statistics)]
        for name in statistics[0]
    }
    content = {"ranges": ranges | {ENTROPY: [0, 1]}, "digests": [pixel_digest(disks(seed=0)[0])]}
    (model / "image_statistics.json").write_text(json.dumps(content))
    shutil.copy(tmp_path / "fields/1.png", tmp_path / "fields/copy.png")
    bright = disks(seed=20)[0]
    Image.fromarray(bright // 2 + 120).save(tmp_path / "fields/odd.png")
    run(Request(tmp_path / "fields", str(model), tmp_path / "out"))
    warnings = pd.read_csv(tmp_path / "out/fields.csv", keep_default_na=False).set_index("image")["warnings"]
    assert warnings["0.png"] == "in the training set, so the model has seen it"
    assert [warnings[f"{number}.png"] for number in range(1, 5)] == [""] * 4
    assert warnings["copy.png"] == "the same pixels as another field, not counted again: 1.png"
    assert "differs from the training micrographs in its median grey value" in warnings["odd.png"]
    page = (tmp_path / "out/report.html").read_text()
    first = page[: page.index("<h2>The material</h2>")]
    assert "In the training set, so the model has seen it: 0.png" in first
    assert "The same pixels as another field, not counted again: copy.png" in first
    assert "proves nothing" in first


def test_a_pixel_size_a_quarter_off_is_refused_without_resampling():
    assert scale_factor(0.1, "a.png", 0.124, resample=False) == 1
    assert scale_factor(0.1, "a.png", 0.2, resample=True) == 2
    assert (
        scale_factor(None, "a.png", 0.2, resample=False) == scale_factor(0.1, "a.png", None, resample=False) == 1
    )
    for size in (0.126, 0.074):
        with pytest.raises(
            InputError, match=rf"a\.png: its pixel size is {size} um, but the model was trained at 0\.1 um"
        ):
            scale_factor(0.1, "a.png", size, resample=False)
    with pytest.raises(InputError, match="--resample: the pixel size of the training is not known"):
        scale_factor(None, "a.png", 0.1, resample=True)
    with pytest.raises(InputError, match=r"--resample: a\.png has no pixel size"):
        scale_factor(0.1, "a.png", None, resample=True)


def test_a_resampled_micrograph_is_predicted_at_the_training_pixel_size_and_measured_at_its_own(
    tmp_path, monkeypatch
):
    shapes = []

    def bright(_module, inputs, *_):
        shapes.append(tuple(inputs.shape[-2:]))
        return inputs * 100 - 50

    monkeypatch.setattr("microseg.measurement.predictor.predict", bright)
    write_disks(tmp_path / "fields", ["a.png"])
    model = write_tiny_model(tmp_path / "model", input_normalization="none")
    write_json(model / "image_statistics.json", asdict(ImageStatistics({}, (), 0.1, "um_per_pixel")))
    request = Request(tmp_path / "fields", str(model), tmp_path / "out", pixel_size=parse_pixel_size("0.2um"))
    with pytest.raises(
        InputError, match=r"a\.png: its pixel size is 0\.2 um, but the model was trained at 0\.1 um"
    ):
        run(request)
    assert not (tmp_path / "out").exists()
    run(replace(request, settings=Settings(resample=True)))
    assert shapes == [(192, 256)]
    fields = pd.read_csv(tmp_path / "out/fields.csv")
    assert fields["width_px"].tolist() == [128]
    assert fields["pixel_size_um"].tolist() == [0.2]
    assert fields["area_fraction"][0] == pytest.approx(disks(seed=0)[1].mean(), rel=0.05)
