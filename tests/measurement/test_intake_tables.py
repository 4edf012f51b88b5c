"""The tables of `microseg segment`: pixel sizes and fields of the images in a folder."""

import pytest

from microseg.common.errors import InputError
from microseg.measurement.intake import read_fields, read_scales
from microseg.micrographs.pixel_size import PixelSize


def test_a_table_of_scales(tmp_path):
    table = tmp_path / "scales.csv"
    table.write_text("Image;Pixel size;Unit\na.png;0,05;um\nb.png;20;nm\n")
    scales = read_scales(table, ["a.png", "b.png", "c.png"])
    assert scales == {"a.png": PixelSize(0.05, "scales.csv"), "b.png": PixelSize(0.02, "scales.csv")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,pixel_size,unit\nz.png,1,um\n", "scales.csv: no image z.png in the folder; correct the name"),
        ("image,pixel_size,unit\na.png,1,ell\n", "scales.csv, line 2: unknown unit 'ell'"),
        ("image,pixel_size,unit\na.png,0,um\n", "scales.csv, line 2: a pixel size cannot be 0 um"),
        ("image,pixel_size,unit\na.png,x,um\n", "scales.csv, line 2: 'x' is not a number"),
        ("image,pixel_size,unit\na.png,1,um\na.png,2,um\n", "line 3: a.png is in an earlier line too"),
        ("image,size\na.png,1\n", "scales.csv, line 1: no column pixel_size"),
    ],
)
def test_a_wrong_table_of_scales_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "scales.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_scales(tmp_path / "scales.csv", ["a.png"])
    assert message in str(caught.value)


def test_a_table_of_fields_keeps_its_other_columns_and_names_every_image(tmp_path):
    table = tmp_path / "fields.csv"
    table.write_text("image,specimen,etching\na.png,heat 42,Nital\nb.png,heat 43,LePera\n")
    fields = read_fields(table, ["a.png", "b.png"])
    assert fields["b.png"] == {"image": "b.png", "specimen": "heat 43", "etching": "LePera"}
    with pytest.raises(InputError, match=r"fields\.csv: no line for c\.png; add it"):
        read_fields(table, ["a.png", "b.png", "c.png"])
    with pytest.raises(InputError, match=r"no image b\.png in the folder"):
        read_fields(table, ["a.png"])
