"""A folder of micrographs becomes masks, tables and summaries whose values are known."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image
from scipy import stats

from microseg.measurement.model import DEFAULT_POSTPROCESS
from microseg.measurement.run import run
from microseg.measurement.settings import parse_area
from microseg.measurement.stereology import QUANTITIES
from microseg.micrographs.pixel_size import parse_pixel_size

from drawn_micrographs import RADIUS, disks, write_disks


def read(request, name):
    return pd.read_csv(request.output / name)


def test_masks_labels_and_overlays_have_the_names_and_sizes_of_the_micrographs(request_for):
    request = request_for(pixel_size=parse_pixel_size("0.5um"), probability=True)
    run(request)
    stems = {"a", "b", "c", "d", "e"}
    for folder in ("masks", "overlays", "labels", "probability"):
        assert {path.stem for path in (request.output / folder).iterdir()} == stems
    for name, mask in request_for.masks.items():
        stem = name.partition(".")[0]
        assert np.array_equal(np.asarray(Image.open(request.output / f"masks/{stem}.png")) == 255, mask)
        with tifffile.TiffFile(request.output / f"labels/{stem}.tif") as labels:
            assert labels.imagej_metadata["unit"] == "um"
            across = labels.pages.first.tags["XResolution"].value
            assert across[0] / across[1] == pytest.approx(2)
            numbers = labels.asarray()
        assert numbers.dtype == np.uint16
        assert np.array_equal(numbers > 0, mask)
        assert Image.open(request.output / f"overlays/{stem}.jpg").size == mask.shape[::-1]
        certainty = tifffile.imread(request.output / f"probability/{stem}.tif") / 65535
        assert np.array_equal(certainty > 0.5, mask)


def test_the_tables_hold_what_was_drawn(request_for):
    request = request_for(pixel_size=parse_pixel_size("0.5um"))
    run(request)
    fields, islands = read(request, "fields.csv"), read(request, "islands.csv")
    assert list(fields)[:19] == [
        *("image", "specimen", "width_px", "height_px", "pixel_size_um", "area_um2", "area_fraction", "islands"),
        *("number_per_mm2", "mean_area_um2", "interceptions_per_mm", "mean_intercept_um", "mean_free_path_um"),
        *("boundary_per_mm", "interceptions_x_per_mm", "interceptions_y_per_mm"),
        *("specks", "number_without_specks_per_mm2", "warnings"),
    ]
    assert list(islands) == [
        *("image", "label", "area_um2", "equivalent_diameter_um", "feret_max_um", "feret_min_um", "aspect_ratio"),
        *("perimeter_um", "circularity", "orientation_deg", "nearest_um", "mean_probability", "touches_border"),
    ]
    assert fields["image"].tolist() == ["a.png", "b.tif", "c.jpg", "d.png", "e.png"]
    assert set(fields["specimen"]) == {"heat42"}
    assert set(fields["area_um2"]) == {96 * 128 / 4}
    assert fields["area_fraction"].tolist() == [mask.mean() for mask in request_for.masks.values()]
    assert set(fields["islands"]) == {6}
    assert fields["number_per_mm2"].tolist() == pytest.approx([6 / (96 * 128 * 0.25e-6)] * 5)
    # Each disk is as many rows high, and columns wide, as its diameter has pixels: so many lines meet it.
    lines_met = 6 * (2 * RADIUS + 1)
    assert fields["interceptions_per_mm"].tolist() == pytest.approx(
        [2 * lines_met / (96 * 127 + 128 * 95) / 0.5e-3] * 5
    )
    assert len(islands) == 30
    assert islands.groupby("image")["label"].apply(list).tolist() == [[1, 2, 3, 4, 5, 6]] * 5
    assert islands["area_um2"].sum() == pytest.approx(sum(mask.sum() for mask in request_for.masks.values()) / 4)
    assert islands["equivalent_diameter_um"].mean() == pytest.approx(RADIUS, rel=0.05)
    assert not islands["touches_border"].any()


def test_several_micrographs_at_once_give_what_one_after_the_other_gives(request_for, tmp_path):
    before = torch.get_num_threads()
    written = []
    try:
        for cores in (1, 4):
            torch.set_num_threads(cores)
            request = request_for(pixel_size=parse_pixel_size("0.5um"), output=tmp_path / f"on_{cores}")
            run(request)
            files = [path for path in sorted(request.output.rglob("*")) if path.suffix in {".csv", ".png", ".tif"}]
            written.append({path.relative_to(request.output): path.read_bytes() for path in files})
    finally:
        torch.set_num_threads(before)
    assert len(written[0]) == 3 + 5 + 5
    assert written[0] == written[1]


def test_specimens_follow_from_the_written_fields_to_the_last_digit(request_for, tmp_path):
    table = tmp_path / "fields.csv"
    lines = [f"{name},{specimen}" for name, specimen in zip(request_for.masks, "XXYYY", strict=True)]
    table.write_text("\n".join(["image,specimen", *lines]))
    write_disks(tmp_path / "heat42", ["d.png"], count=5)
    request = request_for(pixel_size=parse_pixel_size("0.5um"), fields=table)
    run(request)
    fields, specimens = read(request, "fields.csv"), read(request, "specimens.csv")
    assert list(specimens) == [
        *("specimen", "quantity", "fields", "mean", "standard_deviation", "low", "high"),
        *("relative_accuracy_percent", "more_fields_for_10_percent", "more_fields_for_5_percent"),
    ]
    assert specimens["quantity"].tolist() == list(QUANTITIES) * 2
    for row in specimens.query("quantity == 'area_fraction'").itertuples():
        values = fields.loc[fields["specimen"] == row.specimen, "area_fraction"]
        assert row.mean == pytest.approx(values.mean(), rel=1e-14)
        assert row.standard_deviation == pytest.approx(values.std(), rel=1e-9)
        if row.specimen == "X":
            assert math.isnan(row.low)
        else:
            # At these few percent of the mean the interval within bounds is Student's but for a hundredth.
            half = stats.t.ppf(0.975, 2) * values.std() / math.sqrt(3)
            assert (row.high - row.low) / 2 == pytest.approx(half, rel=0.01)
            assert row.relative_accuracy_percent == pytest.approx(50 * (row.high - row.low) / row.mean)


def test_a_field_that_is_there_twice_counts_once(request_for, tmp_path):
    once = request_for(output=tmp_path / "once")
    run(once)
    shutil.copy(tmp_path / "heat42/a.png", tmp_path / "heat42/again.png")
    twice = request_for()
    run(twice)
    assert read(twice, "specimens.csv").equals(read(once, "specimens.csv"))
    assert len(read(twice, "fields.csv")) == 6
    assert "not counted again: again.png" in (twice.output / "report.html").read_text()
    # In two specimens it counts in both: which of them it belongs to is for the user to say.
    table = tmp_path / "fields.csv"
    names = [*request_for.masks, "again.png"]
    lines = [f"{name},{'Y' if name == 'again.png' else 'X'}" for name in names]
    table.write_text("\n".join(["image,specimen", *lines]))
    both = request_for(output=tmp_path / "both", fields=table)
    run(both)
    assert set(read(both, "specimens.csv").query("quantity == 'area_fraction'")["fields"]) == {5, 1}
    assert "counted in both specimens: again.png" in (both.output / "report.html").read_text()


def test_a_run_in_which_no_field_has_an_island(request_for, tmp_path):
    for seed, path in enumerate((tmp_path / "heat42").rglob("*.*")):
        Image.fromarray(np.random.default_rng(seed).integers(50, 70, (96, 128), np.uint8)).save(path)
    request = request_for(pixel_size=parse_pixel_size("0.5um"))
    run(request)
    assert len(read(request, "islands.csv")) == 0
    assert set(read(request, "fields.csv")["islands"]) == {0}
    number = read(request, "specimens.csv").set_index("quantity").loc["number_per_mm2"]
    limit = 3.0 / (len(request_for.masks) * 96 * 128 * 0.25e-6)
    assert (number["mean"], number["high"]) == (0, pytest.approx(limit, rel=0.01))
    page = (request.output / "report.html").read_text()
    assert "N<sub>A</sub> is below 195 1/mm² with 95 % confidence: no island in 5 fields" in page
    assert "No island was found: a.png, b.tif, c.jpg, d.png, e.png" in page


def test_an_island_across_a_field_is_said(request_for, tmp_path):
    grey, _ = disks(seed=9)
    grey[40:44] = 220
    Image.fromarray(grey).save(tmp_path / "heat42/a.png")
    request = request_for()
    run(request)
    specimens = read(request, "specimens.csv").set_index("quantity")["mean"]
    assert specimens[["number_per_px2", "mean_area_px2"]].isna().all()
    assert specimens["area_fraction"] > 0
    assert "an island reaches across the field" in read(request, "fields.csv")["warnings"][0]


def test_without_a_scale_everything_is_in_pixels_and_the_summary_and_report_say_so(request_for):
    request = request_for()
    run(request)
    fields, islands = read(request, "fields.csv"), read(request, "islands.csv")
    assert not [column for column in (*fields, *islands) if "_um" in column or "_mm" in column]
    assert {"area_px2", "mean_free_path_px", "number_per_px2"} <= set(fields)
    assert {"area_px2", "feret_min_px", "nearest_px"} <= set(islands)
    assert fields["number_per_px2"].tolist() == pytest.approx([6 / (96 * 128)] * 5)
    assert (
        "No pixel size is known: all lengths and areas are in pixels"
        in (request.output / "report.html").read_text()
    )


def test_small_islands_are_excluded_from_everything(request_for, tmp_path):
    grey, mask = disks(seed=9)
    grey[2, 2] = 255
    Image.fromarray(grey).save(tmp_path / "heat42/a.png")
    request = request_for(min_area=parse_area("10px"))
    run(request)
    fields = read(request, "fields.csv")
    assert fields["islands"].tolist() == [6] * 5
    assert fields["area_fraction"][0] == mask.mean()
    assert fields["area_fraction_sigmoid"][0] == mask.mean() + 1 / mask.size


def test_sensitivity_is_the_area_fraction_at_other_probabilities_and_by_both_methods(request_for):
    request = request_for()
    results = run(request)
    grey, mask = disks(seed=0)
    row = read(request, "fields.csv").iloc[0]
    for probability in (0.4, 0.5, 0.6):
        logit = math.log(probability / (1 - probability))
        logits = ((grey.astype(np.float32) - 128) / 10).astype(np.float16)
        assert row[f"area_fraction_{probability}"] == (logits > logit).mean()
    assert row["area_fraction_morphology"] == pytest.approx(mask.mean(), rel=0.1)
    assert results.sensitivity["heat42"]["0.5"] == pytest.approx(
        read(request, "fields.csv")["area_fraction_0.5"].mean()
    )


def test_summary_and_provenance(request_for, tmp_path):
    (tmp_path / "scales.csv").write_text(
        "image,pixel_size,unit\n" + "".join(f"{n},50,nm\n" for n in request_for.masks)
    )
    request = request_for(scales=tmp_path / "scales.csv")
    run(request)
    summary, provenance = (
        json.loads((request.output / name).read_text()) for name in ("summary.json", "provenance.json")
    )
    fields = read(request, "fields.csv")
    assert summary["fields"] == 5
    assert summary["model_error"] is None
    fraction = summary["specimens"]["heat42"]["area_fraction"]
    assert fraction["mean"] == pytest.approx(fields["area_fraction"].mean())
    assert provenance["program"].startswith("microseg ")
    assert len(provenance["model"]["weights_sha256"]) == 64
    assert provenance["settings"]["direction"] == "both"
    first = provenance["inputs"][0]
    assert (first["image"], first["pixel_size_um"], first["pixel_size_from"]) == ("a.png", 0.05, "scales.csv")
    assert len(first["sha256"]) == 64


def test_the_model_error_of_the_evaluation_is_reported_and_changes_nothing(request_for, tmp_path):
    plain = request_for(output=tmp_path / "plain")
    run(plain)
    weights = json.loads((tmp_path / "model/model.json").read_text())["weights_sha256"]
    error = {
        "mean": 0.0123,
        "interval95": [-0.002, 0.0266],
        "limits_of_agreement": [-0.05, 0.0746],
        "micrographs": 20,
    }
    dataset = {"source": "folder", "split": "validation"}
    settings = {
        "predict": {"tta": "d4", "tile_size": None},
        "temperature": 1.0,
        "postprocess": DEFAULT_POSTPROCESS.model_dump() | {"sigmoid_threshold": 0.4},
    }
    metrics = {"sigmoid": {"area_fraction_error": error}, "model": {"weights": weights[:16]}}
    metrics |= {"dataset": dataset, "settings": settings}
    (tmp_path / "model/evaluation.json").write_text(json.dumps(metrics))
    request = request_for()
    results = run(request)
    unlike = "test-time augmentation is none, there d4"
    assert results.summary()["model_error"] == error | {"dataset": dataset, "unlike_this_run": [unlike]}
    fields, before = read(request, "fields.csv"), read(plain, "fields.csv")
    assert fields["area_fraction"].equals(before["area_fraction_0.4"])
    assert fields["area_fraction_0.5"].equals(before["area_fraction"])
    page = (request.output / "report.html").read_text()
    assert (
        "on 20 validation micrographs (folder) it was off by +1.23 percentage points on average (95 % inter"
        in page
    )
    assert "not an independent test" in page
    assert unlike in page
    assert "The error of the model is not known" in (plain.output / "report.html").read_text()


def test_the_bar_is_cut_off_and_shown(request_for, tmp_path):
    grey, _ = disks(seed=0)
    grey[-10:] = 0
    Image.fromarray(grey).save(tmp_path / "heat42/a.png")
    request = request_for(crop_bottom=10)
    run(request)
    fields = read(request, "fields.csv")
    assert set(fields["height_px"]) == {86}
    assert Image.open(request.output / "masks/a.png").size == (128, 86)
    page = (request.output / "report.html").read_text()
    assert "Information bar of 10 rows, cut off and not measured (5 fields, such as a.png)" in page


def test_16_bit_micrographs_keep_one_scale_of_brightness(tmp_path, request_for):
    for path in (tmp_path / "heat42").rglob("*.*"):
        path.unlink()
    masks = {}
    for seed, gain in enumerate((8, 16)):
        grey, masks[seed] = disks(seed=seed)
        Image.fromarray(grey.astype(np.uint16) * gain).save(tmp_path / f"heat42/{seed}.png")
    request = request_for()
    run(request)
    fractions = read(request, "fields.csv")["area_fraction"].tolist()
    # The set uses 12 bits: the darker picture reaches half of the brightness, below what counts as bright.
    assert fractions == [0, masks[1].mean()]
