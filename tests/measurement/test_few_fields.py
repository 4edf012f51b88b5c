"""One or two fields have an interval by their integral range, in the table and in the report."""

import pandas as pd
import pytest

from microseg.measurement.integral_range import fraction_interval
from microseg.measurement.run import run
from microseg.micrographs.pixel_size import parse_pixel_size

from drawn_micrographs import write_disks


def test_the_interval_is_that_of_the_mask_in_units_of_the_specimen(request_for, tmp_path):
    masks = write_disks(tmp_path / "steel", ["one/a.png"], height=256, width=256, count=30)
    masks |= write_disks(tmp_path / "steel", [f"three/{name}.png" for name in "abc"])
    results = run(request_for(folder=tmp_path / "steel", pixel_size=parse_pixel_size("0.5um")))
    (row,) = pd.read_csv(tmp_path / "out/few_fields.csv").to_dict("records")
    found = fraction_interval([masks["one/a.png"]])
    assert (row["specimen"], row["fields"]) == ("one", 1)
    assert (row["area_fraction"], row["low"], row["high"]) == pytest.approx(
        (found.fraction, found.low, found.high)
    )
    assert row["integral_range_um2"] == pytest.approx(0.25 * found.integral_range_px2)
    assert row["area_for_10_percent_um2"] == pytest.approx(0.25 * found.area_for(0.1))
    page = (results.request.output / "report.html").read_text(encoding="utf-8")
    assert "n = 1 field: too few for a result, measure at least 5. Where measured, A<sub>A</sub> = " in page
    assert "speaks of the place that was looked at" in page


def test_where_islands_are_few_the_reason_stands_in_place_of_an_interval(request_for, tmp_path):
    write_disks(tmp_path / "steel", ["a.png"], count=2)
    run(request_for(folder=tmp_path / "steel"))
    (row,) = pd.read_csv(tmp_path / "out/few_fields.csv").to_dict("records")
    assert row["reason"] == "fewer than about 10 independent islands"
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "no interval: fewer than about 10 independent islands" in page
    assert "Where measured" not in page
