"""review.csv: verdicts on single islands change the annotations, and what is wrong with one is said by line."""

import pytest

from microseg.annotations.issues import UNUSABLE_LINE, Issue
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask
from microseg.annotations.review import COLUMNS, reviewed
from microseg.common.errors import InputError
from microseg.micrographs.line_map import LineMap

SQUARE = [(10, 10), (20, 10), (20, 20), (10, 20)]
FAR = [(30, 30), (39, 30), (35, 39)]
NEW = [(1, 1), (5, 1), (5, 5)]
CROSSED = [(0, 0), (9, 9), (9, 0), (0, 9)]


def annotated():
    polygons = [AnnotatedPolygon((15, 15), SQUARE, 2), AnnotatedPolygon((34, 32), FAR, 3)]
    return [ImageMask("a.png", polygons), ImageMask("b.png", [AnnotatedPolygon((12, 12), SQUARE, 4)])]


@pytest.fixture
def review(tmp_path):
    def apply(*rows, masks=None, header=COLUMNS):
        """Apply rows of image, island, verdict and outline."""
        lines = [
            (image, island, verdict, "kim", "2026-11-27", outline) for image, island, verdict, outline in rows
        ]
        text = "\n".join(";".join(map(str, line)) for line in [header, *lines])
        (tmp_path / "review.csv").write_text(text)
        table = tmp_path / "annotations.csv"
        return reviewed(masks or annotated(), [Issue(UNUSABLE_LINE, "b.png", 5, "")], table, LineMap(table))

    return apply


def outlines(masks):
    return {mask.img_name: [polygon.nodes.tolist() for polygon in mask] for mask in masks}


def corners(*polygons):
    return [[list(corner) for corner in polygon] for polygon in polygons]


def test_without_a_review_nothing_changes(tmp_path):
    masks, line_map = reviewed(
        annotated(), [], tmp_path / "annotations.csv", LineMap(tmp_path / "annotations.csv")
    )
    assert (masks, line_map.lines) == (annotated(), {})


def test_every_verdict(review):
    masks, line_map = review(
        ("a.png", "(15, 15)", "redraw", NEW),
        ("a.png", "(35, 33)", "keep", ""),
        ("b.png", "(11.5, 19)", "remove", ""),
        ("b.png", "", "add", FAR),
    )
    assert outlines(masks) == {"a.png": corners(NEW, FAR), "b.png": corners(FAR)}
    # Line 5 cannot be read; the lines after it are those of the review.
    assert [polygon.line for mask in masks for polygon in mask] == [6, 3, 9]
    assert [line_map.place(line).rpartition("/")[2] for line in (6, 9)] == [
        "review.csv, line 2",
        "review.csv, line 5",
    ]
    assert masks[1][0].place.endswith("review.csv, line 5")


def test_the_last_island_can_be_removed(review):
    masks, _ = review(("b.png", "(12, 12)", "remove", ""))
    assert outlines(masks)["b.png"] == []


def test_lines_without_a_verdict_are_still_to_be_decided(review):
    masks, _ = review(("a.png", "(15, 15)", "", ""), ("a.png", "", "keep", FAR))
    assert masks == annotated()


def test_a_point_at_the_edge_of_a_mask_is_one_of_the_island(review):
    masks, _ = review(("b.png", "(20.5, 15)", "remove", ""))
    assert outlines(masks)["b.png"] == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("c.png", "(15, 15)", "keep", ""), r"c\.png is not an annotated micrograph"),
        (("a.png", "(25, 5)", "remove", ""), r"a\.png has no island at \(25, 5\)"),
        (
            ("a.png", "(15, 15)", "delete", ""),
            "unknown verdict 'delete'; did you mean .*keep, add, remove, redraw",
        ),
        (("a.png", "", "remove", ""), "remove needs a point of the island"),
        (("a.png", "7", "remove", ""), "the island '7' is not a pair of numbers"),
        (("a.png", "", "add", ""), "add needs an outline"),
        (("a.png", "(15, 15)", "redraw", NEW[:2]), "redraw needs an outline"),
        (("a.png", "", "add", CROSSED), r"the outline crosses itself \(Self-intersection"),
    ],
)
def test_a_wrong_verdict_is_refused_by_line(review, row, message):
    with pytest.raises(InputError, match=rf"review\.csv, line 3: {message}"):
        review(("b.png", "(15, 15)", "keep", ""), row)


def test_two_verdicts_on_one_island_are_refused(review):
    with pytest.raises(InputError, match=r"review\.csv, line 3: .*review\.csv, line 2 is a verdict on the same"):
        review(("a.png", "(15, 15)", "keep", ""), ("a.png", "(11, 12)", "remove", ""))


def test_a_point_in_two_islands_has_to_be_that_of_one(review):
    overlapping = [
        ImageMask("a.png", [AnnotatedPolygon(at, SQUARE, line) for line, at in ((2, (15, 15)), (3, (12, 12)))])
    ]
    with pytest.raises(InputError, match=r"the point \(14, 14\) is in line 2 and in line 3"):
        review(("a.png", "(14, 14)", "remove", ""), masks=overlapping)
    masks, _ = review(("a.png", "(12, 12)", "remove", ""), masks=overlapping)
    assert [polygon.line for polygon in masks[0]] == [2]


@pytest.mark.parametrize(
    ("who", "when", "message"), [("", "2026-11-27", "by is empty"), ("kim", "27.11.", "date")]
)
def test_who_and_when_are_needed(tmp_path, who, when, message):
    (tmp_path / "review.csv").write_text(f'{",".join(COLUMNS)}\na.png,"(15, 15)",keep,{who},{when},\n')
    table = tmp_path / "annotations.csv"
    with pytest.raises(InputError, match=rf"review\.csv, line 2: .*{message}"):
        reviewed(annotated(), [], table, LineMap(table))


def test_a_micrograph_declared_empty_has_no_island(review):
    with pytest.raises(InputError, match=r"a\.png has no island at"):
        review(("a.png", "(12, 12)", "remove", ""), masks=[ImageMask("a.png")])


def test_a_table_without_the_columns_is_no_review(review):
    with pytest.raises(InputError, match=r"review\.csv, line 1: no column island; a review has image, island"):
        review(header=("image", "verdict"))
