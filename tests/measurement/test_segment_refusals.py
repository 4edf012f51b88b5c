"""Input that cannot be measured is refused by name before anything is written, or excluded and listed."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from microseg.common.errors import InputError
from microseg.measurement.predictor import Predictor
from microseg.measurement.run import run
from microseg.measurement.settings import check_tile_size, parse_area, parse_crop
from microseg.micrographs.pixel_size import parse_pixel_size

from drawn_micrographs import disks, write_disks


def test_unreadable_images_stop_the_run_at_once_or_are_excluded_and_listed(request_for, tmp_path):
    data = (tmp_path / "heat42/d.png").read_bytes()
    (tmp_path / "heat42/d.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"d\.png: cannot be decoded.*exclude it with --skip-unreadable"):
        run(request_for())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heat42", "model"]
    request = request_for(skip_unreadable=True)
    run(request)
    assert pd.read_csv(request.output / "fields.csv")["image"].tolist() == ["a.png", "b.tif", "c.jpg", "e.png"]
    left_out = json.loads((request.output / "summary.json").read_text())["left_out"]
    assert [one["name"] for one in left_out] == ["d.png"]
    assert "Left out because it cannot be read" in (request.output / "report.html").read_text()


def test_a_tiff_of_several_pages_is_refused(request_for, tmp_path):
    tifffile.imwrite(tmp_path / "heat42/stack.tif", np.zeros((2, 20, 20), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=r"stack\.tif: holds 2 images \(20 x 20, 20 x 20 pixels\); save each"):
        run(request_for())


def test_two_images_of_the_same_name_are_refused(request_for, tmp_path):
    write_disks(tmp_path / "heat42", ["A.jpg"])
    with pytest.raises(InputError, match=r"(A\.jpg|a\.png): images of the same name"):
        run(request_for())


def test_hidden_files_and_other_kinds_of_files_are_ignored(request_for, tmp_path):
    for name in ("._a.png", ".trash/z.png", "notes.txt"):
        (tmp_path / "heat42" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "heat42" / name).write_bytes(b"no picture")
    assert len(run(request_for()).records) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": "nowhere"}, "nowhere: no such folder"),
        ({"folder": "empty"}, "empty: no image in it; put PNG, TIFF, JPEG or BMP files there"),
        ({"model": "nowhere"}, "--model nowhere: no such folder; give a model's folder, or URL#revision"),
        ({"output": "full"}, "full: already exists and is not empty; give a new folder, or empty it"),
        ({"output": "heat42/out"}, "heat42/out: lies in the folder of the micrographs"),
        ({"min_area": parse_area("1um2")}, "--min-area: no pixel size is known; give the area in pixels"),
        ({"crop_bottom": 95}, "95 of its 96 rows would be cut off; lower --crop-bottom"),
    ],
)
def test_unusable_input_is_refused_and_nothing_is_written(request_for, tmp_path, monkeypatch, change, message):
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
        InputError, match=r"b\.tif: no pixel size is known, unlike that of a\.png \(4 of 5 have none\)"
    ):
        run(request_for(scales=tmp_path / "scales.csv"))


def test_a_header_that_contradicts_the_option_is_refused(request_for, tmp_path):
    grey, _ = disks(seed=3)
    fei = (34682, "s", 0, "[Scan]\r\nPixelWidth=1e-7\r\nPixelHeight=1e-7\r\n", True)
    tifffile.imwrite(tmp_path / "heat42/f.tif", grey, metadata=None, extratags=[fei])
    with pytest.raises(InputError, match=r"f\.tif: --pixel-size says 0\.05 um per pixel, but FEI header"):
        run(request_for(pixel_size=parse_pixel_size("50nm")))
    assert run(request_for(pixel_size=parse_pixel_size("100nm"))).intake.pixel_size_um("f.tif") == 0.1


def test_the_option_overrides_the_header_of_an_image_program(request_for, tmp_path):
    grey, _ = disks(seed=3)
    tifffile.imwrite(tmp_path / "heat42/f.tif", grey, imagej=True, resolution=(10, 10), metadata={"unit": "um"})
    assert run(request_for(pixel_size=parse_pixel_size("50nm"))).intake.pixel_size_um("f.tif") == 0.05


def test_a_scale_in_an_unknown_unit_is_warned_of(request_for, tmp_path):
    grey, _ = disks(seed=3)
    tifffile.imwrite(tmp_path / "heat42/f.tif", grey, imagej=True, resolution=(9, 9), metadata={"unit": "furlong"})
    warnings = run(request_for()).warnings["f.tif"]
    assert any("unit 'furlong', which is not known" in text for text in warnings)


def test_an_empty_output_folder_is_filled(request_for, tmp_path):
    (tmp_path / "out").mkdir()
    run(request_for())
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.parametrize(
    ("function", "text", "message"),
    [
        (parse_area, "5", "--min-area: '5' is not an area"),
        (parse_area, "5acre", "--min-area: unknown unit 'acre'; give um2 (or nm2, mm2) or px"),
        (parse_crop, "some", "--crop-bottom: 'some' is neither auto nor a number of rows"),
        (check_tile_size, 100, "--tile-size: 100 is not a multiple of 16, at least 64; give 96"),
        (check_tile_size, 16, "--tile-size: 16 is not a multiple of 16, at least 64; give 64"),
    ],
)
def test_wrong_options_are_refused_with_the_remedy(function, text, message):
    with pytest.raises(InputError) as caught:
        function(text)
    assert message in str(caught.value)


def test_areas_with_their_units():
    assert parse_area("20px").pixels(None) == parse_area("20 px2").pixels(0.1) == 20
    assert parse_area("0.1um2").pixels(0.1) == pytest.approx(10)
    assert parse_area("10000nm2").pixels(0.1) == pytest.approx(1)


@pytest.mark.parametrize("pixel_size", [None, "0.5um"])
def test_a_table_of_fields_with_columns_of_the_results_is_refused_before_a_micrograph_is_segmented(
    request_for, monkeypatch, pixel_size
):
    request = request_for(pixel_size=pixel_size and parse_pixel_size(pixel_size))
    run(request)
    fields = request.output / "fields.csv"
    columns = pd.read_csv(fields).columns.drop(["image", "specimen"])
    monkeypatch.setattr(Predictor, "logits", None)
    for given in (None, "0.5um"):
        again = request_for(
            output=request.output.with_name("again"), fields=fields, pixel_size=given and parse_pixel_size(given)
        )
        with pytest.raises(
            InputError, match=r"fields\.csv, line 1: .*: results have columns of this name"
        ) as caught:
            run(again)
        assert str(caught.value).split(": ")[1].split(", ") == list(columns)


def test_a_table_with_two_columns_of_one_name_is_refused(request_for, tmp_path):
    (tmp_path / "fields.csv").write_text("image,specimen,Etching,etching\na.png,x,nital,picral\n")
    with pytest.raises(
        InputError, match=r"fields\.csv, line 1: two columns are called 'etching'; rename or remove"
    ):
        run(request_for(fields=tmp_path / "fields.csv"))
