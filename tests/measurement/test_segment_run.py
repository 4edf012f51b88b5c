"""A folder of micrographs becomes masks, tables and summaries whose values are known."""

import errno
import json
import math

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image
from scipy import stats

from microseg.common.errors import InputError
from microseg.measurement import one_micrograph
from microseg.measurement import run as run_module
from microseg.measurement.fields import QUANTITIES
from microseg.measurement.pixel_size import parse_pixel_size
from microseg.measurement.predictor import Predictor
from microseg.measurement.run import run
from microseg.measurement.settings import Request, Settings, check_tile, parse_area, parse_crop

from drawn_micrographs import RADIUS, disks, sees_bright, write_disks, write_tiny_model  # noqa: F401 (a fixture)

pytestmark = pytest.mark.usefixtures("sees_bright")
NAMES = ["a.png", "more/b.tif", "more/c.jpg", "d.png", "e.png"]


@pytest.fixture
def request_for(tmp_path):
    """Return a function that makes a request for five micrographs, with whatever is to be different."""
    masks = write_disks(tmp_path / "heat42", NAMES)
    model = write_tiny_model(tmp_path / "model")

    def make(**changes):
        settings = {name: changes.pop(name) for name in list(changes) if name in Settings.__dataclass_fields__}
        given = {"folder": tmp_path / "heat42", "model": str(model), "output": tmp_path / "out", **changes}
        return Request(settings=Settings(**settings), **given)

    make.masks = {name.rpartition("/")[2]: mask for name, mask in masks.items()}
    return make


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


def test_the_tables_say_what_was_drawn(request_for):
    request = request_for(pixel_size=parse_pixel_size("0.5um"))
    run(request)
    fields, islands = read(request, "fields.csv"), read(request, "islands.csv")
    assert list(fields)[:15] == [
        *("image", "specimen", "width_px", "height_px", "pixel_size_um", "area_um2", "area_fraction", "islands"),
        *("number_per_mm2", "mean_area_um2", "interceptions_per_mm", "mean_intercept_um", "mean_free_path_um"),
        *("boundary_per_mm", "warnings"),
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
    request = request_for(pixel_size=parse_pixel_size("0.5um"), fields=table)
    run(request)
    fields, specimens = read(request, "fields.csv"), read(request, "specimens.csv")
    assert list(specimens)[:9] == [
        *("specimen", "quantity", "fields", "mean", "standard_deviation", "interval95"),
        *("relative_accuracy_percent", "fields_for_10_percent", "fields_for_5_percent"),
    ]
    assert specimens["quantity"].tolist() == list(QUANTITIES) * 2
    for row in specimens.itertuples():
        values = fields.loc[fields["specimen"] == row.specimen, row.quantity]
        assert row.mean == pytest.approx(values.mean(), rel=1e-15)
        assert row.standard_deviation == pytest.approx(values.std(), rel=1e-14)
        if row.specimen == "X":
            assert math.isnan(row.interval95)
        else:
            assert row.interval95 == pytest.approx(stats.t.ppf(0.975, 2) * values.std() / math.sqrt(3), rel=1e-14)


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


def test_small_islands_are_left_out_of_everything(request_for, tmp_path):
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


def test_the_model_error_of_the_evaluation_is_told_and_changes_nothing(request_for, tmp_path):
    plain = request_for(output=tmp_path / "plain")
    run(plain)
    weights = json.loads((tmp_path / "model/model.json").read_text())["weights_sha256"]
    error = {
        "mean": 0.0123,
        "interval95": [-0.002, 0.0266],
        "limits_of_agreement": [-0.05, 0.0746],
        "micrographs": 20,
    }
    metrics = {"sigmoid": {"area_fraction_error": error}, "model": {"weights": weights[:16]}}
    (tmp_path / "model/evaluation.json").write_text(json.dumps(metrics))
    request = request_for()
    results = run(request)
    assert results.summary()["model_error"] == error
    assert read(request, "fields.csv").equals(read(plain, "fields.csv"))
    page = (request.output / "report.html").read_text()
    assert "on 20 annotated micrographs it was off by +1.23 percentage points on average (95 % interval" in page
    assert "How wrong the model may be is not known" in (plain.output / "report.html").read_text()


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


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_run_leaves_no_output_and_is_gone_on_with(request_for, monkeypatch, interruption):
    whole = request_for(output=request_for().output.with_name("whole"))
    run(whole)
    request, real, begun = request_for(), one_micrograph.write_overlay, []

    def interrupt(path, *arguments):
        begun.append(path.stem)
        if begun == ["a", "b", "c"]:
            raise interruption
        real(path, *arguments)

    monkeypatch.setattr(one_micrograph, "write_overlay", interrupt)
    expected = KeyboardInterrupt if isinstance(interruption, KeyboardInterrupt) else InputError
    with pytest.raises(expected) as caught:
        run(request)
    if expected is InputError:
        assert "out: the disk is full; free some space, then run the same with --resume" in str(caught.value)
    assert not request.output.exists()
    begun.clear()
    run(request_for(resume=True))
    assert begun[0] == "c"
    assert begun[-1] == "e"
    assert not (request.output.parent / ".out.partial").exists()
    for path in whole.output.rglob("*.*"):
        if path.suffix != ".html":
            assert (request.output / path.relative_to(whole.output)).read_bytes() == path.read_bytes(), path


def test_a_resumed_run_with_other_settings_is_refused_and_one_without_it_starts_anew(request_for, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(one_micrograph, "write_labels", fail)
        with pytest.raises(KeyboardInterrupt):
            run(request_for())
    with pytest.raises(InputError, match="was begun with other settings; give the same again"):
        run(request_for(resume=True, method="morphology"))
    request = request_for(method="morphology")
    run(request)
    assert read(request, "fields.csv")["islands"].tolist() == [6] * 5


def test_unreadable_pictures_stop_the_run_at_once_or_are_left_out_and_listed(request_for, tmp_path):
    data = (tmp_path / "heat42/d.png").read_bytes()
    (tmp_path / "heat42/d.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"d\.png: cannot be decoded.*leave it out with --skip-unreadable"):
        run(request_for())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heat42", "model"]
    request = request_for(skip_unreadable=True)
    run(request)
    assert read(request, "fields.csv")["image"].tolist() == ["a.png", "b.tif", "c.jpg", "e.png"]
    left_out = json.loads((request.output / "summary.json").read_text())["left_out"]
    assert [one["name"] for one in left_out] == ["d.png"]
    assert "Left out, because it cannot be read" in (request.output / "report.html").read_text()


def test_a_tiff_of_several_pages_is_refused(request_for, tmp_path):
    tifffile.imwrite(tmp_path / "heat42/stack.tif", np.zeros((2, 20, 20), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=r"stack\.tif: holds several pictures; save each as a file of its own"):
        run(request_for())


def test_two_pictures_of_one_name_are_refused(request_for, tmp_path):
    write_disks(tmp_path / "heat42", ["more/A.jpg"])
    with pytest.raises(InputError, match=r"A\.jpg.*two pictures of one name|a\.png.*two pictures of one name"):
        run(request_for())


def test_hidden_files_and_other_kinds_are_passed_over(request_for, tmp_path):
    for name in ("._a.png", ".trash/z.png", "notes.txt"):
        (tmp_path / "heat42" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "heat42" / name).write_bytes(b"no picture")
    assert len(run(request_for()).records) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": "nowhere"}, "nowhere: no such folder"),
        ({"folder": "empty"}, "empty: no picture in it; put PNG, TIFF or JPEG files there"),
        ({"model": "nowhere"}, "--model nowhere: no such folder; give a model's folder, or URL#revision"),
        ({"output": "full"}, "full: is there already and not empty; give a new folder, or empty it"),
        ({"output": "heat42/out"}, "heat42/out: lies in the folder of the micrographs"),
        ({"min_area": parse_area("1um2")}, "--min-area: no pixel size is known, so give it in pixels"),
        ({"crop_bottom": 95}, "of its 96 rows 95 are cut off; lower --crop-bottom"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_left(request_for, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    before = sorted(tmp_path.rglob("*"))
    paths = {key: tmp_path / value for key, value in change.items() if key in ("folder", "output")}
    with pytest.raises(InputError) as caught:
        run(request_for(**{**change, **paths}))
    assert message in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_weights_of_another_card_are_refused(request_for, tmp_path):
    (tmp_path / "model/model.safetensors").write_bytes(b"others")
    with pytest.raises(InputError, match=r"model\.safetensors: not the weights that .* describes"):
        run(request_for())
    assert not (tmp_path / "out").exists()


def test_a_scale_for_some_micrographs_only_is_refused(request_for, tmp_path):
    (tmp_path / "scales.csv").write_text("image,pixel_size,unit\na.png,50,nm\n")
    with pytest.raises(
        InputError, match=r"b\.tif: no pixel size is known, but of a\.png it is \(4 of 5 have none\)"
    ):
        run(request_for(scales=tmp_path / "scales.csv"))


def test_a_header_that_contradicts_the_option_is_refused(request_for, tmp_path):
    grey, _ = disks(seed=3)
    tifffile.imwrite(tmp_path / "heat42/f.tif", grey, imagej=True, resolution=(10, 10), metadata={"unit": "um"})
    with pytest.raises(InputError, match=r"f\.tif: --pixel-size says 0\.05 um a pixel, but ImageJ header"):
        run(request_for(pixel_size=parse_pixel_size("50nm")))
    assert run(request_for(pixel_size=parse_pixel_size("100nm"))).intake.pixel_size_um("f.tif") == 0.1


def test_an_empty_output_folder_is_filled(request_for, tmp_path):
    (tmp_path / "out").mkdir()
    run(request_for())
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.parametrize(
    ("function", "text", "message"),
    [
        (parse_area, "5", "--min-area: '5' is no area"),
        (parse_area, "5acre", "--min-area: unknown unit 'acre'; give um2 (or nm2, mm2) or px"),
        (parse_crop, "some", "--crop-bottom: 'some' is neither auto nor a number of rows"),
        (check_tile, 100, "--tile: 100 is not a multiple of 16 from 64 on; give 96"),
        (check_tile, 16, "--tile: 16 is not a multiple of 16 from 64 on; give 64"),
    ],
)
def test_options_out_of_order(function, text, message):
    with pytest.raises(InputError) as caught:
        function(text)
    assert message in str(caught.value)


def test_areas_with_their_units():
    assert parse_area("20px").pixels(None) == parse_area("20 px2").pixels(0.1) == 20
    assert parse_area("0.1um2").pixels(0.1) == pytest.approx(10)
    assert parse_area("10000nm2").pixels(0.1) == pytest.approx(1)


def test_memory_goes_back_to_the_system_again_and_again_during_a_long_run(request_for, monkeypatch):
    given_back = []
    monkeypatch.setattr(run_module, "GIVE_BACK_EVERY", 2)
    monkeypatch.setattr(Predictor, "give_back_memory", lambda self: given_back.append(self))
    run(request_for())
    assert len(given_back) == 2  # five micrographs
