"""What a correction changed, and what a random sample of corrections says of all fields."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.measurement.correction import count_changes
from microseg.measurement.run import run
from microseg.measurement.settings import Area, Request, Settings

from drawn_micrographs import write_disks

NEXT = Path("no such list")
NAMES = [f"{number}.png" for number in range(12)]


def test_islands_are_added_removed_and_redrawn_by_hand():
    before, after = np.zeros((2, 10, 20), np.uint16)
    before[1:3, 1:3] = 1  # stays
    before[1:3, 6:8] = 2  # removed
    before[6:8, 1:4] = 3  # grows
    before[6:8, 8:16] = 4  # is cut in two
    after[1:3, 1:3] = 1
    after[5:8, 1:4] = 2
    after[6:8, 8:11] = 3
    after[6:8, 13:16] = 4
    after[1, 18] = 5  # added
    assert count_changes(before, after) == {"added": 1, "removed": 1, "redrawn": 3, "unchanged": 1}
    assert count_changes(before, np.zeros_like(before)) == {"added": 0, "removed": 4, "redrawn": 0, "unchanged": 0}
    assert count_changes(before, before) == {"added": 0, "removed": 0, "redrawn": 0, "unchanged": 4}


@pytest.fixture
def segmented(request_for, tmp_path):
    """The results of a run on twelve micrographs of 96 x 128 pixels with six disks each."""
    write_disks(tmp_path / "steel", NAMES)
    return run(request_for(folder=tmp_path / "steel", output=tmp_path / "predicted"))


@pytest.fixture
def correct(segmented, tmp_path):
    """Return a function that adds a square of 4 x 4 pixels times a number to masks, and measures these."""

    def corrected(squares, settings=segmented.request.settings, **options):
        for name, count in squares.items():
            mask = np.asarray(Image.open(tmp_path / "predicted/masks" / name)).copy()
            for number in range(count):
                mask[:4, 8 * number + 1 : 8 * number + 5] = 255
            (tmp_path / "edited").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "edited" / name)
        given = {"masks": tmp_path / "edited", "compare_with": tmp_path / "predicted"} | options
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return run(Request(tmp_path / "steel", "", tmp_path / "out", settings, **given))

    return corrected


def test_changes_are_in_a_table_and_in_the_report(correct, tmp_path):
    correct({"0.png": 2, "3.png": 0})
    changes = pd.read_csv(tmp_path / "out/changes.csv").set_index("image")
    assert changes.loc["0.png", ["added", "removed", "redrawn", "unchanged"]].tolist() == [2, 0, 0, 6]
    assert changes.loc["3.png", ["added", "removed", "redrawn", "unchanged"]].tolist() == [0, 0, 0, 6]
    grown = changes["area_fraction_after"] - changes["area_fraction_before"]
    assert grown.tolist() == pytest.approx([32 / (96 * 128), 0])
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "What the correction changed" in page
    assert "In 1 of 2 fields" in page
    assert "Islands added:\n  2, removed: 0, redrawn: 0, the same to the pixel: 12." in page
    assert "Probability</label>" not in page


def test_a_random_sample_corrects_all_fields_by_hand(correct, segmented, tmp_path):
    results = correct({"1.png": 1, "4.png": 2, "6.png": 1, "10.png": 3}, random_sample=NEXT)
    row = results.corrected.set_index("quantity").loc["area_fraction"]
    # Disks of equal size are predicted right. Squares of 16 pixels: 7 in 4 fields.
    predicted = segmented.fields["area_fraction"].mean()
    assert row["mean"] == pytest.approx(predicted + 7 * 16 / 4 / (96 * 128))
    assert (row["fields"], row["corrected_fields"]) == (12, 4)
    assert row["uncorrected_mean"] == pytest.approx(predicted)
    assert row["low"] < row["mean"] < row["high"]
    written = json.loads((tmp_path / "out/summary.json").read_text())["corrected"]
    assert written[0]["mean"] == pytest.approx(row["mean"])
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "(95 %, n = 12 fields, 4 of them corrected at random); uncorrected A<sub>A</sub> = " in page


def test_number_per_area_is_not_corrected_where_an_island_reaches_across_a_field(correct, tmp_path):
    (tmp_path / "edited").mkdir()
    across = np.zeros((96, 128), np.uint8)
    across[50] = 255
    Image.fromarray(across).save(tmp_path / "edited/2.png")
    table = correct({"1.png": 1, "4.png": 2, "6.png": 3}, random_sample=NEXT).corrected.set_index("quantity")
    assert table["corrected_fields"].tolist() == [4, 4]
    assert table["mean"].isna().tolist() == [False, True]
    assert table["corrections_to_halve"].isna()["number_per_px2"]
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "% (95 %, n = 12 fields, 4 of them corrected at random)" in page


def test_too_few_corrections_give_no_corrected_result(correct):
    assert correct({"1.png": 1, "4.png": 2}, random_sample=NEXT).corrected["mean"].isna().all()


def test_the_least_certain_micrographs_are_no_random_sample(correct, tmp_path):
    table = pd.read_csv(tmp_path / "predicted/fields.csv")
    table["area_fraction_0.4"] = table["area_fraction_0.6"] + table.index / 100
    table.to_csv(tmp_path / "predicted/fields.csv", index=False)
    with pytest.raises(InputError, match=r"--random-sample: the 5 corrected .* the network was least certain of"):
        correct({f"{number}.png": 1 for number in range(7, 12)}, random_sample=NEXT)
    shutil.rmtree(tmp_path / "edited")
    correct({f"{number}.png": number % 3 for number in (0, 3, 7, 9, 11)}, random_sample=NEXT)


def test_the_list_of_what_to_correct_next_says_which_are_random(correct, tmp_path):
    lines = ["image,reason", *(f"{number}.png,{'random' if number < 3 else 'uncertain'}" for number in range(6))]
    (tmp_path / "next.csv").write_text("\n".join(lines))
    listed = tmp_path / "next.csv"
    correct({f"{number}.png": number for number in (0, 1, 2, 8)}, random_sample=listed)
    with pytest.raises(InputError, match=r"4\.png: .*next\.csv lists it as uncertain, not as random; correct a"):
        correct({"4.png": 1}, random_sample=listed)


def refused(correct, message, **options):
    with pytest.raises(InputError, match=message):
        correct({"1.png": 1}, **options)


def test_what_cannot_be_compared_is_refused(correct, tmp_path):
    refused(correct, "steel: no results of microseg segment or measure", compare_with=tmp_path / "steel")
    other = Settings(min_area=Area(5, in_pixels=True))
    refused(correct, r"1\.png was measured there with another min_area; give the options of then", settings=other)
    cropped = Settings(crop_bottom=3)
    refused(correct, r"1\.png was measured there with another cropped_bottom_px", settings=cropped)
    made = tmp_path / "predicted/provenance.json"
    content = json.loads(made.read_text())
    content["model"]["weights_sha256"] = "other"
    (tmp_path / "provenance.json").write_text(json.dumps(content))
    refused(correct, "edited: corrections of another model's results")
    (tmp_path / "provenance.json").unlink()
    write_disks(tmp_path / "steel", ["0.png", "1.png"], count=5)
    refused(correct, r"predicted: 1\.png is not among its micrographs, or another one")
    assert not (tmp_path / "out").exists()


def test_a_specimen_may_be_called_by_a_number(request_for, tmp_path):
    write_disks(tmp_path / "batch", ["42/a.png", "42/b.png"])
    predicted = run(request_for(folder=tmp_path / "batch", output=tmp_path / "predicted")).request
    given = {"masks": predicted.output / "masks", "compare_with": predicted.output}
    changes = run(Request(predicted.folder, "", tmp_path / "out", **given)).changes
    assert changes[["image", "specimen", "unchanged"]].to_numpy().tolist() == [
        ["42/a.png", "42", 6],
        ["42/b.png", "42", 6],
    ]
