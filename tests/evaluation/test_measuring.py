"""One micrograph measured from its files: pixels, islands, points and area by hand; files that cannot be used."""

import numpy as np
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.evaluation.islands import AnnotatedIsland
from microseg.evaluation.metrics import Subject, measure_micrograph
from microseg.evaluation.scores import MeasuredImage, Scores
from microseg.micrographs.images import write_mask


def mask(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


TRUTH = mask("##..", "##..", "....")
PREDICTION = mask("###.", "#...", "...#")


@pytest.fixture
def folders(tmp_path):
    for folder in ("masks", "predictions/sigmoid"):
        (tmp_path / folder).mkdir(parents=True)
    write_mask(tmp_path / "masks" / "a.png", TRUTH)
    write_mask(tmp_path / "predictions" / "sigmoid" / "a.png", PREDICTION)
    return tmp_path


def measured(folder, points=()):
    subject = Subject("a.png", "steel A", points)
    return measure_micrograph(subject, folder / "masks", folder / "predictions", ["sigmoid"])


def test_all_of_one_micrograph_by_hand(folders):
    one = measured(folders)
    # Rows 0 and 1, columns 0 and 1 of a 3 x 4 image: three pixels at distance 0, one at distance 1.
    assert one.pixels == MeasuredImage("a.png", 4 / 12, 0.25, {"sigmoid": Scores(3, 2, 1)})
    assert one.group == "steel A"
    agreement = one.agreements["sigmoid"]
    # The corner island: 3 of 4 pixels and one more. Beside it one pixel is invented, a single one at the border.
    assert agreement.islands.annotated == (AnnotatedIsland(4, 0, 3 / 5),)
    assert agreement.islands.predicted == 2
    assert agreement.area_fraction_error == pytest.approx(5 / 12 - 4 / 12)


def test_points_are_found_in_the_mask_at_x_and_y(folders):
    # (2, 0) is column 2 of row 0; (0.4, 1.4) rounds to column 0 of row 1; (1, 1) is not predicted.
    one = measured(folders, points=((2, 0), (0.4, 1.4), (1, 1)))
    assert (one.points, one.agreements["sigmoid"].points_found) == (3, 2)


def test_points_outside_the_micrograph_do_not_count(folders):
    one = measured(folders, points=((-1, 0), (4, 0), (0, 3), (0, 0)))
    assert (one.points, one.agreements["sigmoid"].points_found) == (1, 1)


def test_a_prediction_of_another_size_is_refused(folders):
    write_mask(folders / "predictions" / "sigmoid" / "a.png", PREDICTION[:2])
    with pytest.raises(InputError, match=r"predictions/sigmoid/a.png"):
        measured(folders)


def test_grey_values_in_a_mask_are_refused(folders):
    Image.fromarray(np.full((3, 4), 128, np.uint8)).save(folders / "masks" / "a.png")
    with pytest.raises(InputError, match=r"masks/a.png: a mask holds only 0 and 255"):
        measured(folders)
