"""Issues in the annotations: every kind is found, listed, counted, and refused or skipped."""

import csv
import math

import numpy as np
import pytest

from microseg.annotations.issues import (
    INVALID,
    UNUSABLE_LINE,
    Issue,
    refuse_emptiness,
    refuse_invalid,
    write_issues,
)
from microseg.annotations.masks import create_binary_mask, find_overlaps
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask
from microseg.annotations.quality import (
    KINDS,
    annotation_metrics,
    annotation_tables,
    check_annotations,
    group_sizes,
    measure_shapes,
)
from microseg.common.errors import InputError
from microseg.micrographs.line_map import LineMap

HEIGHT, WIDTH = 30, 40
SIZES = {"a.png": (HEIGHT, WIDTH)}
SQUARE = [(10, 10), (14, 10), (14, 14), (10, 14)]


def check(*outlines, center=(12, 12), sizes=SIZES, unusable=(), described=None):
    """Check the polygons of a.png, which are on lines 2, 3, ..."""
    polygons = [AnnotatedPolygon(center, outline, line) for line, outline in enumerate(outlines, start=2)]
    return check_annotations([ImageMask("a.png", polygons)], unusable, sizes, described)


def places(checked):
    return [(issue.kind, issue.image, issue.line) for issue in checked.issues]


def test_an_ordinary_polygon_has_no_issue():
    assert places(check(SQUARE)) == []


@pytest.mark.parametrize(
    ("kind", "outline", "center"),
    [
        ("outside_the_image", [(40, 0), (45, 0), (45, 5)], (42, 2)),
        ("out_of_bounds", [(-2, 0), (5, 0), (5, 5), (-2, 5)], (2, 2)),
        ("out_of_bounds", [(0, 20), (5, 20), (5, 30), (0, 30)], (2, 22)),
        ("self_intersecting", [(0, 0), (4, 4), (4, 0), (0, 4)], (3.5, 2)),
        ("self_intersecting", [(0, 0), (4, 0), (2, 2), (4, 4), (0, 4), (2, 2)], (2, 1)),
        ("without_area", [(0, 0), (4, 4), (2, 2)], (1, 1)),
        ("without_area", [(3, 3), (3, 3), (3, 3)], (3, 3)),
        ("point_outside_its_polygon", SQUARE, (15, 12)),
        ("closed_outline", [*SQUARE, SQUARE[0]], (12, 12)),
        ("fractional_coordinates", [(10.5, 10), *SQUARE[1:]], (12, 12)),
    ],
)
def test_every_kind_of_issue(kind, outline, center):
    found = check(outline, center=center)
    assert {"without_area", "closed_outline"} >= {issue.kind for issue in found.issues} - {kind}
    assert (kind, "a.png", 2) in places(found)
    assert kind in KINDS


def test_a_repeated_polygon_is_found_by_its_outline():
    checked = check(SQUARE, [(0, 0), (4, 0), (4, 4)], SQUARE, center=(11, 11))
    assert ("repeated_polygon", "a.png", 4) in places(checked)
    assert [issue.detail for issue in checked.issues if issue.kind == "repeated_polygon"] == [
        "the same outline as line 2"
    ]


def test_images_without_polygons_and_polygons_without_image():
    checked = check(SQUARE, sizes={"b.png": (9, 9)})
    assert places(checked) == [("polygon_without_image", "a.png", 2), ("image_without_polygon", "b.png", None)]
    assert checked.masks == []


def test_images_without_metadata():
    assert places(check(SQUARE, described=["b.png"])) == [("image_without_metadata", "a.png", None)]


def test_a_declared_empty_image_is_used_and_needs_no_polygon():
    checked = check()
    assert (places(checked), checked.masks) == ([], [ImageMask("a.png")])


def test_an_image_without_usable_polygons_is_not_an_empty_mask():
    outside = [(40, 0), (45, 0), (45, 5)]
    assert check(outside).masks == []
    assert check(unusable=[Issue(UNUSABLE_LINE, "a.png", 3, "text")]).masks == []
    assert len(check(outside, SQUARE).masks[0]) == 1


def test_invalid_issues_are_refused_or_skipped(tmp_path):
    table = tmp_path / "annotations.csv"
    issues = check([(40, 0), (45, 0), (45, 5)], unusable=[Issue(UNUSABLE_LINE, "b.png", 9, "2 fields")]).issues
    with pytest.raises(InputError) as refusal:
        refuse_invalid(issues, "error", LineMap(table))
    assert str(refusal.value).startswith(f"{table}, line 2: the polygon lies outside a.png")
    assert "(1 more like this)" in str(refusal.value)
    refuse_invalid(issues, "skip", LineMap(table))
    refuse_invalid(check([*SQUARE, SQUARE[0]]).issues, "error", LineMap(table))


def test_annotations_without_usable_polygons_are_refused(tmp_path):
    with pytest.raises(InputError, match="no usable polygon at all"):
        refuse_emptiness([ImageMask("a.png")], LineMap(tmp_path / "annotations.csv"))


def test_the_metrics_count_the_listed_issues(tmp_path):
    checked = check(
        SQUARE,
        [(40, 0), (45, 0), (45, 5)],
        [*SQUARE, SQUARE[0]],
        unusable=[Issue(UNUSABLE_LINE, "b.png", 9, "2 fields")],
    )
    metrics = annotation_metrics(checked)
    assert (metrics["images"], metrics["polygons"], metrics["skipped"]) == (1, 2, 2)
    assert metrics["vertices_per_polygon"] == {"min": 4, "median": 4.5, "mean": 4.5, "max": 5}
    assert metrics["polygon_area"]["max"] == 16
    write_issues(tmp_path / "issues.csv", checked.issues, {9: "mine.csv, line 12"}.get)
    with (tmp_path / "issues.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    listed = [row["finding"] for row in rows]
    assert [row["line"] for row in rows] == [str(issue.line) for issue in checked.issues]
    assert [row["source"] for row in rows] == ["mine.csv, line 12", "", ""]
    assert {kind: listed.count(kind) for kind in KINDS} == metrics["issues"]
    assert set(INVALID) <= set(KINDS)


def test_tables_behind_the_plots():
    tables = {
        name: rows
        for name, _, rows in annotation_tables(
            check(SQUARE, SQUARE), {"a.png": {"image_url": "a.png", "type": "X"}}
        )
    }
    assert tables["polygons_per_image.csv"] == [(0, 0), (1, 0), (2, 1)]
    assert tables["polygons.csv"] == [("a.png", 2, 4, 16.0), ("a.png", 3, 4, 16.0)]
    assert tables["groups.csv"] == [("type", "X", 1)]


def test_shapes_of_a_circle():
    angles = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    circle = np.column_stack([5 + 3 * np.cos(angles), 5 + 3 * np.sin(angles)])
    shapes = measure_shapes([AnnotatedPolygon((9, 5), circle)])
    assert shapes.areas[0] == pytest.approx(9 * math.pi, rel=1e-4)
    assert shapes.point_distances[0] == pytest.approx(1)
    assert shapes.crossings == [""]


def test_a_self_intersection_says_where():
    (crossing,) = measure_shapes([AnnotatedPolygon((0, 0), [(0, 0), (4, 4), (4, 0), (0, 4)])]).crossings
    assert crossing == "Self-intersection[2 2]"


def test_groups_of_the_metadata():
    rows = [("a", "01", "400"), ("b", "01", "500"), ("c", "02", "500"), ("d", "02", "500")]
    metadata = {name: {"image_url": name, "type": kind, "temperature": heat} for name, kind, heat in rows}
    assert group_sizes(["a", "b", "c", "unknown"], metadata) == {
        "type": [("01", 2), ("02", 1)],
        "temperature": [("400", 1), ("500", 2)],
        "type, temperature": [("01, 400", 1), ("01, 500", 1), ("02, 500", 1)],
    }


def test_a_column_of_names_has_no_groups():
    metadata = {str(number): {"image_url": str(number), "name": str(number)} for number in range(30)}
    assert group_sizes(list(metadata), metadata) == {}


def test_overlaps_are_counted_in_pixels():
    outlines = [SQUARE, [(13, 12), (20, 12), (20, 20), (13, 20)], [(30, 0), (50, 0), (50, 9), (30, 9)]]
    mask = ImageMask(
        "a.png", [AnnotatedPolygon((0, 0), outline, line) for line, outline in enumerate(outlines, 2)]
    )
    (overlap,) = find_overlaps(mask, HEIGHT, WIDTH)
    assert (overlap.image, overlap.line, overlap.detail) == ("a.png", 3, "shares 6 pixels with line 2")


def test_overlaps_agree_with_whole_masks():
    rng = np.random.default_rng(0)
    for _ in range(200):
        first, second = (AnnotatedPolygon((0, 0), rng.uniform(-10, 50, (5, 2)), line) for line in (2, 3))
        masks = [create_binary_mask(ImageMask("", [polygon]), HEIGHT, WIDTH) for polygon in (first, second)]
        shared = int((masks[0] & masks[1]).sum())
        details = [one.detail for one in find_overlaps(ImageMask("a.png", [first, second]), HEIGHT, WIDTH)]
        assert details == ([f"shares {shared} pixels with line 2"] if shared else [])
