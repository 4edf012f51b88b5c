"""metadata.csv: the values of each image, and mistakes refused by line."""

import pytest

from microseg.common.errors import InputError
from microseg.micrographs.metadata import common_pixel_size, read_metadata, values_of

TABLE = "image_url,type,temperature\na.png,01,400\nb.png,CFB2,500\n"


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "metadata.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_values_are_text(tmp_path):
    path = written(tmp_path, TABLE, "utf-8-sig")
    assert values_of(path, ["b.png", "a.png"], ["type", "temperature"]) == {
        "b.png": ("CFB2", "500"),
        "a.png": ("01", "400"),
    }
    assert list(read_metadata(path)) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,type\na.png,01\n", r"metadata\.csv, line 1: no column image_url"),
        (TABLE + "c.png,01\n", r"metadata\.csv, line 4: 2 fields where the header has 3"),
        (TABLE + "c.png,01,400,9\n", r"metadata\.csv, line 4: 4 fields where the header has 3"),
        (TABLE + "a.png,02,400\n", r"metadata\.csv, line 4: a\.png has an earlier line"),
        ("", r"metadata\.csv: the table is empty"),
    ],
)
def test_mistakes_are_refused_by_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_metadata(written(tmp_path, text))


def test_unknown_columns_and_images_are_refused(tmp_path):
    path = written(tmp_path, TABLE)
    with pytest.raises(InputError, match="no column heat; there are image_url, type, temperature"):
        values_of(path, ["a.png"], ["heat"])
    with pytest.raises(InputError, match=r"no line for the annotated image z\.png"):
        values_of(path, ["z.png"], ["type"])
    with pytest.raises(InputError, match="this dataset has no metadata"):
        read_metadata(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    ("values", "size"),
    [
        (["0.05", "0.05", "0,052"], 0.05),
        (["0.05", "0.05", ""], None),
        (["0.05", "0.05", "0.06"], None),
        (["0.05", "0.05", "9"], 0.05),  # of another micrograph
    ],
)
def test_the_pixel_size_that_micrographs_have_in_common(tmp_path, values, size):
    path = tmp_path / "metadata.csv"
    rows = [f'{name}.png,"{value}"' for name, value in zip("abc", values, strict=True)]
    path.write_text("\n".join(["image_url,um_per_pixel", *rows]) + "\n")
    found = common_pixel_size(path, ["a.png", "b.png"] if values[2] == "9" else ["a.png", "b.png", "c.png"])
    assert (found and found.micrometres) == size


def test_no_column_of_pixel_sizes_and_a_wrong_value(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("image_url\na.png\n")
    assert common_pixel_size(path, ["a.png"]) is None
    path.write_text("image_url,um_per_pixel\na.png,x\n")
    with pytest.raises(InputError, match=r"metadata\.csv, um_per_pixel of a\.png: 'x' is not a number"):
        common_pixel_size(path, ["a.png"])
