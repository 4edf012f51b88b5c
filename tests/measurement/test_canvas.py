"""What lies around the specimen, such as the canvas of a mosaic, changes no figure."""

import numpy as np
import pytest
from PIL import Image

from microseg.measurement import predictor
from microseg.measurement.predictor import Predictor
from microseg.measurement.run import run
from microseg.measurement.segmentation import segment
from microseg.measurement.settings import Settings
from microseg.network.devices import start
from microseg.network.image_statistics import image_statistics

from drawn_micrographs import disks, write_tiny_model

NUMBERS = ["area_fraction", "islands", "number_per_Mpx", "mean_area_px2", "mean_intercept_px", "area_px2"]


def on_canvas(path, white=0):
    with Image.open(path) as image:
        canvas = Image.new("L", (3 * image.width, 3 * image.height), white)
        canvas.paste(image, (image.width, image.height))
    canvas.save(path)


def test_a_canvas_changes_nothing_but_is_warned_of(request_for, tmp_path):
    plain = run(request_for()).fields
    for path in (tmp_path / "heat42").rglob("*.png"):
        on_canvas(path)
    results = run(request_for(output=tmp_path / "on_canvas"))
    numbers = [name for name in plain.select_dtypes("number") if name not in ("height_px", "width_px")]
    assert np.allclose(results.fields[numbers], plain[numbers], equal_nan=True)
    assert "89% of it is canvas or masked, and left out of all figures" in results.warnings["a.png"]
    with Image.open(tmp_path / "on_canvas/masks/a.png") as mask:
        assert mask.size == (3 * 128, 3 * 96)
    measured = run(request_for(output=tmp_path / "all", valid_area="all")).fields
    assert measured["area_fraction"][0] == pytest.approx(plain["area_fraction"][0] / 9)


def test_masks_say_what_is_measured(request_for, tmp_path):
    for name in ("a", "b", "c", "d", "e"):
        mask = np.zeros((96, 128), np.uint8)
        mask[:, :64] = 255
        (tmp_path / "valid").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "valid" / f"{name}.png")
    fields = run(request_for(valid_area=str(tmp_path / "valid"))).fields
    expected = [mask[:, :64].mean() for mask in request_for.masks.values()]
    assert np.allclose(fields["area_fraction"], expected)


def test_an_irregular_valid_area_by_hand():
    valid = np.ones((40, 40), bool)
    valid[:20, 20:] = False  # 1200 of 1600 pixels remain
    logits = np.full((40, 40), -8, np.float16)
    logits[25:31, 5:11] = 8
    logits[5:9, 25:35] = 8  # beyond the valid area
    found = segment(logits, Settings(), 0, valid)
    plain = segment(np.where(valid, logits, np.float16(-8)), Settings(), 0)
    assert found.field["islands"] == 1
    assert found.field["area_um2"] == 1200
    assert found.field["area_fraction"] == pytest.approx(36 / 1200)
    assert found.field["number_per_mm2"] == pytest.approx(1 / 1200)
    assert found.field["mean_area_um2"] == pytest.approx(36)
    # Rows and columns cross the island 6 times each: lines of 2 x 40 x 39 pixels, three quarters of them valid.
    interceptions = 12 / (2 * 40 * 39 * 0.75)
    assert found.field["interceptions_per_mm"] == pytest.approx(interceptions)
    assert found.field["mean_free_path_um"] == pytest.approx((1 - 36 / 1200) / interceptions)
    assert found.field["mean_intercept_um"] == pytest.approx(plain.field["mean_intercept_um"])
    assert not found.mask[~valid].any()
    assert found.sensitivity["0.5"] == pytest.approx(36 / 1200)


def test_the_network_sees_the_grey_values_of_the_specimen_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "start", lambda *_: start("cpu", "float32"))
    network = Predictor(write_tiny_model(tmp_path / "model"), Settings())
    grey, _ = disks()
    mosaic, valid = np.pad(grey, 100), np.pad(np.ones(grey.shape, bool), 100)
    logits = network.logits(mosaic, valid=valid)
    assert np.array_equal(logits[100:-100, 100:-100], network.logits(grey))
    assert (logits[~valid] < -60_000).all()
    # Where the valid area is no rectangle, mean and standard deviation are those of its pixels.
    seen = []
    monkeypatch.setattr(network, "_whole", lambda _, statistics: seen.append(statistics) or logits)
    corner = np.ones(grey.shape, bool)
    corner[:50, :70] = False
    monkeypatch.setattr(predictor, "upsample_array", lambda _, size: np.zeros(size, np.float32))
    network.logits(np.where(corner, grey, 0).astype(np.uint8), valid=corner)
    (statistics,) = seen
    assert statistics.mean == pytest.approx(grey[corner].mean() / 255, abs=1e-3)
    assert statistics.std == pytest.approx(grey[corner].std() / 255, rel=1e-3)


def test_statistics_are_those_of_the_specimen():
    grey, _ = disks(height=200, width=300, count=20)
    valid = np.ones(grey.shape, bool)
    valid[:90, 120:] = False
    found = image_statistics(np.where(valid, grey, 0).astype(np.uint8), valid)
    below = image_statistics(grey[90:])
    assert found["noise"] == pytest.approx(below["noise"], rel=0.05)
    assert found["sharpness"] == pytest.approx(below["sharpness"], rel=0.1)
    assert found["grey_5_percent"] == pytest.approx(np.quantile(grey[valid], 0.05) / 255, abs=0.005)
    assert image_statistics(grey, np.zeros(grey.shape, bool)) == {}
