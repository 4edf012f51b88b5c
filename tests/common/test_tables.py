"""Tables as spreadsheets write them, with empty rows, empty columns and a line that names the delimiter."""

import pytest

from microseg.annotations.polygons import read_annotations
from microseg.common.errors import InputError
from microseg.common.tables import read_table

SQUARE = "a.png;(64, 48);[(50, 40), (80, 40), (80, 60), (50, 60)]"


def table(folder, text, encoding="utf-8-sig"):
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("row", ["{0}{0}", " {0} {0} ", '""{0}""{0}""', "{0}{0}{0}{0}", ""])
def test_rows_without_content_are_ignored_and_lines_keep_their_numbers(tmp_path, delimiter, row):
    empty = row.format(delimiter)
    lines = [delimiter.join(fields) for fields in (["image", "type", "time"], ["a.png", "BQ", "30"])]
    text = "\r\n".join([lines[0], empty, lines[1], empty, empty, ""])
    header, rows = read_table(table(tmp_path, text))
    assert header == ["image", "type", "time"]
    assert rows == [(3, ["a.png", "BQ", "30"])]


def test_columns_without_name_and_content_are_ignored(tmp_path):
    assert read_table(table(tmp_path, "image;;type;;\na.png;;BQ;;\nb.png;;BQ;;\n;;;;\n")) == (
        ["image", "type"],
        [(2, ["a.png", "BQ"]), (3, ["b.png", "BQ"])],
    )


def test_empty_fields_beyond_the_header_are_ignored(tmp_path):
    assert read_table(table(tmp_path, "image;type\na.png;BQ;;;\n")) == (["image", "type"], [(2, ["a.png", "BQ"])])


def test_a_line_that_only_names_the_delimiter_is_ignored(tmp_path):
    assert read_table(table(tmp_path, "sep=;\nimage;type\na.png;1,5\n")) == (
        ["image", "type"],
        [(3, ["a.png", "1,5"])],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image;;type\na.png;x;BQ\n", "line 1: column 2 has no name; name it, or empty it"),
        ("image;type;type\na.png;x;BQ\n", "line 1: two columns are named type; rename one of them"),
        ("image;type\na.png\n", "line 2: 1 fields where the header has 2"),
        ("image;type\na.png;BQ;x\n", "line 2: 3 fields where the header has 2"),
        (";;\n ; ;\n", "the table is empty; it needs a header line"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        read_table(table(tmp_path, text))
    assert message in str(caught.value)


def test_a_table_in_the_encoding_of_an_old_spreadsheet_is_refused(tmp_path):
    with pytest.raises(InputError, match="save the table as 'CSV UTF-8'"):
        read_table(table(tmp_path, "image;Gefüge\na.png;µm\n", "cp1252"))


@pytest.mark.parametrize("end", ["", ";", ";;;"])
def test_a_table_of_annotations_may_end_in_empty_rows_and_columns(tmp_path, end):
    text = f"image_url;point;polygon{end}\r\n{SQUARE}{end}\r\n;;{end}\r\n ; ;{end}\r\n"
    (annotated,) = read_annotations(table(tmp_path, text))
    assert annotated.img_name == "a.png"
    assert annotated[0].nodes.tolist() == [[50, 40], [80, 40], [80, 60], [50, 60]]
