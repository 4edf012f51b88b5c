"""Distances between outlines: by hand, in the edge cases, and against MONAI, which takes another way to them."""

import math

import numpy as np
import pytest

from microseg.evaluation.scores import BoundaryAgreement, compare_boundaries, outline


def rectangle(top, bottom, left, right, shape=(40, 60)):
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_outline_by_hand():
    ring = outline(rectangle(1, 4, 1, 4, shape=(6, 6)))
    assert len(ring) == 8
    assert [2, 2] not in ring.tolist()


def test_the_border_of_the_micrograph_is_no_outline():
    assert len(outline(np.ones((3, 4), dtype=bool))) == 0
    # Of an island that the left border cuts, the three pixels to its right.
    assert outline(rectangle(0, 3, 0, 2, shape=(3, 6))).tolist() == [[0, 1], [1, 1], [2, 1]]


def test_agreement_along_the_border_is_not_counted():
    # The annotated island reaches ten pixels from the left border, the predicted one half as far: the outlines are
    # five pixels apart.
    agreement = compare_boundaries(rectangle(0, 40, 0, 10), rectangle(0, 40, 0, 5))
    assert agreement == BoundaryAgreement(0.0, 5.0)


def test_one_pixel_beside_another():
    agreement = compare_boundaries(rectangle(5, 6, 5, 6), rectangle(5, 6, 8, 9))
    assert agreement == BoundaryAgreement(surface_dice=0.0, hausdorff95=3.0)
    assert compare_boundaries(rectangle(5, 6, 5, 6), rectangle(5, 6, 7, 8)) == BoundaryAgreement(1.0, 2.0)


def test_empty_masks():
    empty, some = np.zeros((40, 60), dtype=bool), rectangle(5, 9, 5, 9)
    assert compare_boundaries(empty, empty) == BoundaryAgreement(1.0, 0.0)
    # The diagonal of 40 x 60: nothing is worse than to predict nothing.
    for pair in ((empty, some), (some, empty)):
        assert compare_boundaries(*pair) == BoundaryAgreement(0.0, pytest.approx(math.hypot(40, 60)))
    full = ~empty
    assert compare_boundaries(full, full) == BoundaryAgreement(1.0, 0.0)
    assert compare_boundaries(full, empty).surface_dice == 0


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_monai(seed):
    torch = pytest.importorskip("torch")
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    random = np.random.default_rng(seed)
    masks = [np.zeros((64, 80), dtype=bool) for _ in range(2)]
    rows, columns = np.mgrid[:64, :80]
    for _ in range(6):
        row, column, radius = random.uniform(16, 48), random.uniform(16, 64), random.uniform(2, 12)
        for mask in masks:  # discs at almost the same places; MONAI takes the border for an outline
            shift = random.uniform(-3, 3, 2)
            mask |= (rows - row - shift[0]) ** 2 + (columns - column - shift[1]) ** 2 < radius**2
    truth, prediction = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in masks)
    agreement = compare_boundaries(*masks)
    dice = compute_surface_dice(prediction, truth, class_thresholds=[2.0], include_background=True)
    distance = compute_hausdorff_distance(prediction, truth, include_background=True, percentile=95)
    assert agreement.surface_dice == pytest.approx(dice.item(), abs=1e-6)
    assert agreement.hausdorff95 == pytest.approx(distance.item(), abs=1e-5)
    assert 0 < agreement.surface_dice < 1
