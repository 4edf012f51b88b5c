"""Tables of annotations in every dialect become polygons, which are written and read again."""

import dataclasses

import numpy as np
import pytest

from microseg.annotations.polygons import (
    AnnotatedPolygon,
    ImageMask,
    most_annotated,
    read_annotations,
    read_polygons,
    scan_annotations,
    write_polygons,
)
from microseg.common.errors import InputError

TRIANGLE = "[(0, 0), (4, 0), (0, 4)]"


def write_table(folder, text, encoding="utf-8"):
    path = folder / "annotations.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_images_come_in_the_order_of_their_first_line(tmp_path):
    table = write_table(
        tmp_path,
        "image_url;point;polygon\n"
        f"b.png;(1, 2);{TRIANGLE}\n"
        f"a.png;(3, 4);{TRIANGLE}\n"
        "b.png;(-1, 5.5);[(-2, 0.25), (1e1, 0), (7, 768), (-2, 0.25)]\n",
    )
    masks = read_annotations(table)
    assert [(mask.img_name, len(mask)) for mask in masks] == [("b.png", 2), ("a.png", 1)]
    second = masks[0][1]
    assert second.center == (-1.0, 5.5)
    assert second.nodes.tolist() == [[-2, 0.25], [10, 0], [7, 768], [-2, 0.25]]
    assert [polygon.line for polygon in masks[0]] == [2, 4]


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_dialect_gives_the_same_polygons(tmp_path, delimiter, line_end, encoding):
    lines = [["image_url", "point", "polygon"], ["a.png", '"(1, 2)"', f'"{TRIANGLE}"'], []]
    text = line_end.join(delimiter.join(fields) for fields in lines)
    (mask,) = read_annotations(write_table(tmp_path, text, encoding))
    assert mask == ImageMask("a.png", [AnnotatedPolygon((1, 2), [(0, 0), (4, 0), (0, 4)])])


def test_an_image_declared_empty_has_no_polygon(tmp_path):
    masks = read_annotations(write_table(tmp_path, f"image_url;point;polygon\na.png;;\nb.png;(0, 0);{TRIANGLE}\n"))
    assert masks[0] == ImageMask("a.png")
    assert len(masks[0]) == 0


def test_a_polygon_cannot_be_changed():
    vertices = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    polygon = AnnotatedPolygon((1, 1), vertices)
    vertices[0, 0] = 99
    assert polygon[0] == (0.0, 0.0)
    assert len(polygon) == 3
    with pytest.raises(ValueError, match="read-only"):
        polygon.nodes[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        polygon.center = (0, 0)


def test_iterating_over_a_polygon_ends():
    assert list(AnnotatedPolygon((1, 1), [(0, 0), (4, 0), (0, 4)])) == [(0, 0), (4, 0), (0, 4)]


@pytest.mark.parametrize("nodes", [[(0, 0), (1, 1)], [(0, 0, 0)] * 3, [1, 2, 3]])
def test_a_polygon_needs_three_vertices_of_two_coordinates(nodes):
    with pytest.raises(ValueError, match="at least 3 vertices"):
        AnnotatedPolygon((0, 0), nodes)


def test_polygons_are_added_to_their_own_image_only():
    first, second = ImageMask("a.png"), ImageMask("b.png")
    polygon = AnnotatedPolygon((1, 1), [(0, 0), (4, 0), (0, 4)])
    first.add_polygon(polygon)
    assert (len(first), len(second)) == (1, 0)
    assert first[0] is polygon


def test_most_annotated_keeps_the_order_of_ties():
    polygon = AnnotatedPolygon((1, 1), [(0, 0), (4, 0), (0, 4)])
    masks = [ImageMask(name, [polygon] * number) for name, number in [("a", 1), ("b", 2), ("c", 1), ("d", 2)]]
    assert most_annotated(masks, 3) == [("b", 2), ("d", 2), ("a", 1)]


def test_unusable_lines_are_returned_beside_the_polygons(tmp_path):
    table = write_table(tmp_path, f"image_url;point;polygon\na.png;nonsense;{TRIANGLE}\nb.png;(0, 0);{TRIANGLE}\n")
    masks, unusable = scan_annotations(table)
    assert [mask.img_name for mask in masks] == ["b.png"]
    assert [(one.line, one.image) for one in unusable] == [(2, "a.png")]


def test_polygons_survive_being_written_and_read(tmp_path):
    masks = [
        ImageMask(
            "ä.png", [AnnotatedPolygon((0.1, -2), [(0.1 + 0.2, 0), (1e-9, 4), (-3, 4)], line=7, source="mine.csv")]
        ),
        ImageMask("empty.png"),
    ]
    write_polygons(tmp_path / "polygons.jsonl", masks)
    again = read_polygons(tmp_path / "polygons.jsonl")
    assert again == masks
    assert (again[0][0].line, again[0][0].source) == (7, "mine.csv")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"image": "a.png"}',
        '{"image": "a.png", "polygons": [{"center": 1}]}',
        '{"image": "a", "polygons": [{"center": [1, 1], "nodes": [[0, 0], [4, 0], [0, 4]], "origin": "b"}]}',
    ],
)
def test_a_damaged_file_of_polygons_is_named(tmp_path, text):
    path = tmp_path / "polygons.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=r"polygons\.jsonl, line 1: .*rerun the stage parse_csv"):
        read_polygons(path)
