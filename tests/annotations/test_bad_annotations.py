"""Unusable lines and tables are refused by file and line."""

import pytest

from microseg.annotations.polygons import read_annotations
from microseg.common.errors import InputError

HEADER = "image_url;point;polygon"
GOOD = "IMG_00001.png;(1, 1);[(0, 0), (4, 0), (0, 4)]"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("IMG_00002.png;(1, 1)", "2 fields instead of 3"),
        (f"{GOOD};more", "4 fields instead of 3"),
        ("IMG_00002.png;(1, 1);text", "the polygon 'text' is not a list"),
        ("IMG_00002.png;text;[(0, 0), (4, 0), (0, 4)]", "the point 'text' is not a pair"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, 0)]", "2 vertices, it needs at least 3"),
        ("IMG_00002.png;(1, 1);[]", "0 vertices, it needs at least 3"),
        ("IMG_00002.png;(1, 1);", "the polygon '' is not a list"),
        ("IMG_00002.png;;[(0, 0), (4, 0), (0, 4)]", "the point '' is not a pair"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, nan), (0, 4)]", "is not a list of pairs of numbers"),
        ("IMG_00002.png;(NaN, 1);[(0, 0), (4, 0), (0, 4)]", "is not a pair of numbers"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, inf), (0, 4)]", "is not a list of pairs of numbers"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, 1e999), (0, 4)]", "beyond 1,000,000 pixels"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, -1000001), (0, 4)]", "beyond 1,000,000 pixels"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, 0), (0, 4), (1)]", "is not a list of pairs of numbers"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, 0), (0, 4, 1)]", "is not a list of pairs of numbers"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, 0), (0, 4)", "is not a list of pairs of numbers"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, 0), (0, 4]", "is not a list of pairs of numbers"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, 0), __import__('os')]", "is not a list of pairs of numbers"),
        ("IMG_00002.png;(1, 1);[(0, 0), (4, 0), (0, ٤)]", "is not a list of pairs of numbers"),
        (";(1, 1);[(0, 0), (4, 0), (0, 4)]", "'' is not the name of an image file"),
        ("../up.png;(1, 1);[(0, 0), (4, 0), (0, 4)]", "is not the name of an image file"),
        ("c:\\up.png;(1, 1);[(0, 0), (4, 0), (0, 4)]", "is not the name of an image file"),
        ('IMG_00002.png;"(1, 1);[(0, 0), (4, 0), (0, 4)]', "quotation marks do not match"),
    ],
)
def test_an_unusable_line_is_refused_by_file_and_number(tmp_path, line, complaint):
    table = tmp_path / "annotations.csv"
    table.write_text(f"{HEADER}\n{GOOD}\n\n{line}\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        read_annotations(table)
    assert str(refusal.value).startswith(f"{table}, line 4: ")
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the table is empty"),
        (b"\n \n", "the table is empty"),
        (f"{HEADER}\n".encode(), "no annotation below the header"),
        (b"a;b;c\nIMG_00001.png;(1, 1);[(0, 0), (4, 0), (0, 4)]\n", "the header is 'a;b;c'"),
        (GOOD.encode(), "line 1: the header is"),
        (f"{HEADER}\n{GOOD}\n".encode("utf-16"), "not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8 text"),
    ],
)
def test_an_unusable_file_is_refused_by_name(tmp_path, content, complaint):
    table = tmp_path / "annotations.csv"
    table.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as refusal:
        read_annotations(table)
    assert str(table) in str(refusal.value)


def test_no_file_and_no_table(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path / "annotations.csv")
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path)


def test_coordinates_that_are_fractions_of_the_width_are_refused_by_what_they_are(tmp_path):
    table = tmp_path / "annotations.csv"
    table.write_text("image_url;point;polygon\na.png;(0.2, 0.2);[(0, 0), (0.5, 0), (0.5, 1)]\n")
    with pytest.raises(
        InputError, match=r"annotations\.csv: all coordinates lie between 0 and 1, so they are frac"
    ):
        read_annotations(table)
    table.write_text("image_url;point;polygon\na.png;(0, 0);[(0, 0), (1, 0), (1, 1)]\n")
    assert len(read_annotations(table)) == 1
