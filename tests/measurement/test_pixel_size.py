import pytest

from microseg.common.errors import InputError
from microseg.measurement.intake import read_fields, read_scales
from microseg.micrographs.pixel_size import PixelSize, choose, parse_pixel_size


@pytest.mark.parametrize(
    ("text", "micrometres"),
    [("0.05um", 0.05), ("50 nm", 0.05), ("0,05\N{MICRO SIGN}m", 0.05), ("5e-8 m", 0.05), ("0.002 mm", 2)],
)
def test_a_length_with_its_unit(text, micrometres):
    size = parse_pixel_size(text)
    assert size.micrometres == pytest.approx(micrometres)
    assert size.source == "--pixel-size"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.05 parsec", "--pixel-size: unknown unit 'parsec'; give one of pm, nm, um"),
        ("0um", "--pixel-size: a pixel size of 0 um is none; give a number above 0"),
        ("nan um", "a pixel size of nan um is none"),
        ("-1um", "a pixel size of -1 um is none"),
        ("0.05", "'0.05' is no length; give a number and a unit, such as 0.05um"),
        ("1.2.3um", "'1.2.3' is no number"),
    ],
)
def test_what_is_no_length_is_refused(text, message):
    with pytest.raises(InputError) as caught:
        parse_pixel_size(text)
    assert message in str(caught.value)


def test_the_first_source_counts_and_may_differ_from_the_next_by_one_percent():
    option, file = PixelSize(0.05, "--pixel-size"), PixelSize(0.0504, "FEI header")
    assert choose("a.tif", [None, option, file]) == option
    assert choose("a.tif", [None, None]) is None
    with pytest.raises(InputError) as caught:
        choose("a.tif", [option, None, PixelSize(0.06, "FEI header")])
    assert "a.tif: --pixel-size says 0.05 um a pixel, but FEI header 0.06 um" in str(caught.value)


def test_a_table_of_scales(tmp_path):
    table = tmp_path / "scales.csv"
    table.write_text("Image;Pixel size;Unit\na.png;0,05;um\nb.png;20;nm\n")
    scales = read_scales(table, ["a.png", "b.png", "c.png"])
    assert scales == {"a.png": PixelSize(0.05, "scales.csv"), "b.png": PixelSize(0.02, "scales.csv")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,pixel_size,unit\nz.png,1,um\n", "scales.csv: there is no picture z.png; correct the name"),
        ("image,pixel_size,unit\na.png,1,ell\n", "scales.csv, line 2: unknown unit 'ell'"),
        ("image,pixel_size,unit\na.png,0,um\n", "scales.csv, line 2: a pixel size of 0 um is none"),
        ("image,pixel_size,unit\na.png,x,um\n", "scales.csv, line 2: 'x' is no number"),
        ("image,pixel_size,unit\na.png,1,um\na.png,2,um\n", "line 3: a.png stands in an earlier line too"),
        ("image,size\na.png,1\n", "scales.csv, line 1: no column pixel_size"),
    ],
)
def test_a_wrong_table_of_scales_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "scales.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_scales(tmp_path / "scales.csv", ["a.png"])
    assert message in str(caught.value)


def test_a_table_of_fields_keeps_its_other_columns_and_misses_no_picture(tmp_path):
    table = tmp_path / "fields.csv"
    table.write_text("image,specimen,etching\na.png,heat 42,Nital\nb.png,heat 43,LePera\n")
    fields = read_fields(table, ["a.png", "b.png"])
    assert fields["b.png"] == {"image": "b.png", "specimen": "heat 43", "etching": "LePera"}
    with pytest.raises(InputError, match=r"fields\.csv: no line for c\.png; add it"):
        read_fields(table, ["a.png", "b.png", "c.png"])
    with pytest.raises(InputError, match=r"there is no picture b\.png"):
        read_fields(table, ["a.png"])
