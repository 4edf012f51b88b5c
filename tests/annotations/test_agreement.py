"""Points on which annotators agree: the matching rule, and the published points."""

import csv
import json
import math
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from microseg.annotations.agreement import agreed_points, read_markers
from microseg.annotations.polygons import parse_points
from microseg.common.errors import InputError
from microseg.common.tables import read_table

from pipeline_files import ROOT
from project_copy import environment

NOBODY = np.empty((0, 2))


def points(*pairs):
    return np.array(pairs, float)


def agreed(*markers, threshold=10):
    return [(one.point, one.annotators) for one in agreed_points(markers, threshold)]


def test_three_markers_within_reach_of_each_other_are_one_point():
    assert agreed(points((0, 0)), points((6, 0)), points((3, 6))) == [((3, 2), (0, 1, 2))]


def test_a_chain_is_not_agreement_of_all():
    """The ends are 12 apart: the closer two agree, the third marker is left over."""
    assert agreed(points((0, 0)), points((5, 0)), points((12, 0))) == [((2.5, 0), (0, 1))]


def test_the_threshold_itself_still_agrees():
    assert agreed(points((0, 0)), points((6, 8))) == [((3, 4), (0, 1))]
    assert agreed(points((0, 0)), points((6, 8.01))) == []


def test_one_annotator_never_agrees_with_oneself():
    assert agreed(points((0, 0), (1, 0)), NOBODY, NOBODY) == []


def test_every_marker_is_used_once():
    assert agreed(points((0, 0), (4, 0)), points((1, 0))) == [((0.5, 0), (0, 1))]


def test_agreement_of_all_comes_before_a_closer_pair():
    """B's marker is closest to A's second, but all three can agree only on A's first."""
    found = agreed(points((0, 0), (6, 0)), points((5, 0)), points((-4, 0)))
    assert found == [((1 / 3, 0), (0, 1, 2))]


def test_nobody_marked_anything():
    assert agreed(NOBODY, NOBODY, NOBODY) == []


def slowly_agreed(markers, threshold):
    """All groups of markers of different annotators, largest and then closest first, each marker used once."""
    everything = [(annotator, tuple(marker)) for annotator, one in enumerate(markers) for marker in one.tolist()]
    groups = []
    for size in range(2, len(markers) + 1):
        for group in combinations(everything, size):
            if len({annotator for annotator, _ in group}) == size:
                spread = max(math.dist(one, other) for (_, one), (_, other) in combinations(group, 2))
                groups.append((-size, spread, group))
    used, found = set(), []
    for _, spread, group in sorted(groups):
        if spread <= threshold and used.isdisjoint(group):
            used.update(group)
            center = np.mean([marker for _, marker in group], axis=0)
            found.append((pytest.approx(tuple(center)), tuple(annotator for annotator, _ in group)))
    return found


def test_the_rule_by_trying_every_group():
    rng = np.random.default_rng(0)
    for _ in range(40):
        markers = [rng.uniform(0, 50, (rng.integers(0, 6), 2)) for _ in range(rng.integers(2, 5))]
        assert agreed(*markers, threshold=15) == slowly_agreed(markers, 15)


@pytest.fixture(scope="module")
def published(shared_data):
    return shared_data / "aachen_heerlen" / "nature_scidata_heerlen_aachen_steel_annotations_POI.csv"


def test_the_published_points(published):
    """Everything but the number of points of all three annotators agrees; the next test shows why."""
    found = [agreed_points(markers, 30) for markers in read_markers(published, ["A", "B", "C"]).values()]
    assert len(found) == 1768
    assert sum(not one for one in found) == 63
    assert sum(map(len, found)) == 8909
    assert sum(len(one.annotators) == 3 for points in found for one in points) == 2889


def test_the_published_table_counts_some_points_twice(published):
    """In 24 images, it has one more point of three annotators, which is close to one already counted."""
    markers = read_markers(published, ["A", "B", "C"])
    header, rows = read_table(published)
    differing = 0
    for _, fields in rows:
        row = dict(zip(header, fields, strict=True))
        theirs = np.array(parse_points(row["tripleAgreement"], "")).reshape(-1, 2)
        ours = [one for one in agreed_points(markers[row["image_url"]], 30) if len(one.annotators) == 3]
        if len(ours) != len(theirs):
            differing += 1
            assert len(theirs) == len(ours) + 1
            assert min(np.hypot(*(a - b)) for a, b in combinations(theirs, 2)) < 30
    assert differing == 24


def test_the_command_line(tmp_path):
    table = tmp_path / "points.csv"
    table.write_text("image_url;A;B;C\na.png;[(0, 0)];[(6, 0)];[(3, 6)]\nb.png;[];[(1, 1)];[]\n")
    command = [
        sys.executable,
        "-m",
        "microseg.console.program",
        "agreement",
        "--points",
        str(table),
        "--threshold",
        "10",
    ]
    outputs = ["--agreed", str(tmp_path / "agreed.csv"), "--metrics", str(tmp_path / "agreement.json")]
    subprocess.run([*command, *outputs], cwd=ROOT, check=True, env=environment(PYTHONPATH=str(ROOT / "src")))
    with (tmp_path / "agreed.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [["a.png", "3.0", "2.0", "A B C"]]
    metrics = json.loads((tmp_path / "agreement.json").read_text())
    assert metrics["images_without_agreed_point"] == 1
    assert metrics["agreed_by"] == {"2": 0, "3": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image_url;A;B\na.png;[];[]\n", "line 1: no column C"),
        ("image_url;A;B;C\na.png;[];[];text\n", "line 2: column C: 'text' is not a list"),
        ("image_url;A;B;C\na.png;[];[]\n", "line 2: 3 fields where the header has 4"),
        ("", "the table is empty"),
    ],
)
def test_an_unusable_table_is_refused(tmp_path, text, complaint):
    table = tmp_path / "points.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_markers(table, ["A", "B", "C"])
