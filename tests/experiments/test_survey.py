"""What the micrographs for training and validation say about the settings of a training."""

from pathlib import Path

import numpy as np
import pytest

from microseg.common.params_file import read_params
from microseg.experiments.survey import (
    Survey,
    area_weighted_median,
    best_grey_iou,
    differs_from_zero,
    largest_radius,
    survey,
)
from microseg.micrographs.images import write_mask, write_micrograph
from microseg.splits import SplitRow, write_split

from pipeline_files import ROOT

PARAMS = read_params(ROOT / "params.yaml")


def _write(folder: Path, masks: dict[str, np.ndarray], splits: dict[str, str]) -> tuple[Path, Path, Path]:
    for name, mask in masks.items():
        (folder / "images").mkdir(exist_ok=True)
        (folder / "masks").mkdir(exist_ok=True)
        write_micrograph(folder / "images" / name, np.where(mask, 200, 100).astype(np.uint8))
        write_mask(folder / "masks" / name, mask)
    write_split(folder / "split.csv", [SplitRow(name, split, "") for name, split in splits.items()])
    return folder / "images", folder / "masks", folder / "split.csv"


def _square(top: int, side: int, shape: tuple[int, int] = (64, 80)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + side, 10 : 10 + side] = True
    return mask


def test_the_test_set_is_not_looked_at(tmp_path: Path) -> None:
    masks = {"a.png": _square(10, 4), "b.png": _square(20, 4), "c.png": _square(0, 40, (40, 40))}
    paths = _write(tmp_path, masks, {"a.png": "train", "b.png": "validation", "c.png": "test"})
    found = survey(*paths, PARAMS)
    assert (found.train, found.validation, found.shape) == (1, 1, (64, 80))
    assert found.foreground == pytest.approx(2 * 16 / (2 * 64 * 80))
    assert found.island_diameter == pytest.approx((4 * 16 / np.pi) ** 0.5)
    assert found.grey_iou == 1


def test_specks_do_not_count_by_their_number() -> None:
    # Areas in proportion: 100 of 1, one of 100, two of 400. Half of 1,000 is reached within those of 400.
    assert area_weighted_median(np.array([1.0] * 100 + [20.0, 10.0, 20.0]) * 1.5) == 30
    assert area_weighted_median(np.array([2.0, 1.0, 1.0])) == 2
    assert area_weighted_median(np.array([])) == np.inf


def test_the_best_threshold_of_grey_may_be_below_or_above() -> None:
    background, foreground = np.zeros(256, np.int64), np.zeros(256, np.int64)
    background[[50, 100]] = 30, 70
    foreground[[100, 150]] = 10, 40
    # Above 100: 40 of 50 found, nothing wrong. From 100 on: all 50 found, 70 wrong.
    assert best_grey_iou(background, foreground) == pytest.approx(40 / 50)
    assert best_grey_iou(background[::-1].copy(), foreground[::-1].copy()) == pytest.approx(40 / 50)
    assert best_grey_iou(background, np.zeros(256, np.int64)) == 0


def _survey_of(folder: Path, masks: dict[str, np.ndarray]) -> Survey:
    return survey(*_write(folder, masks, dict.fromkeys(masks, "train") | {min(masks): "validation"}), PARAMS)


def test_a_layer_lies_off_center_and_islands_do_not(tmp_path: Path) -> None:
    for folder, tops, expected in (("layer", (40, 42, 39, 41), True), ("islands", (5, 50, 15, 40), False)):
        (tmp_path / folder).mkdir()
        masks = {f"{number}.png": _square(top, 12) for number, top in enumerate(tops)}
        assert _survey_of(tmp_path / folder, masks).has_up_and_down is expected


def test_a_bright_substrate_below_tells_up_from_down(tmp_path: Path) -> None:
    masks = {f"{number}.png": _square(top, 12) for number, top in enumerate((16, 36, 26, 26))}
    assert not _survey_of(tmp_path, masks).has_up_and_down
    for number, name in enumerate(masks):
        micrograph = np.full((64, 80), 60, np.uint8)
        micrograph[30 + number :] = 180
        write_micrograph(tmp_path / "images" / name, micrograph)
    rows = [SplitRow(name, "validation" if name == "0.png" else "train", "") for name in masks]
    write_split(tmp_path / "split.csv", rows)
    found = survey(tmp_path / "images", tmp_path / "masks", tmp_path / "split.csv", PARAMS)
    assert found.has_up_and_down


def test_differs_from_zero_is_a_t_test() -> None:
    # t = 0.1 / (0.1 / sqrt(3)) = 1.73, and 4.30 is the quantile of two degrees of freedom.
    assert not differs_from_zero([0.0, 0.1, 0.2])
    assert differs_from_zero([0.09, 0.1, 0.11])
    assert not differs_from_zero([0.1, 0.1])


def test_the_largest_radius_keeps_the_annotated_masks(tmp_path: Path) -> None:
    # A square of 5 x 5 survives a disk of radius 1 less its corners (21 of 25), one of 40 x 40 any of them.
    small, large = _square(10, 5), _square(10, 40)
    for folder, mask, radius in (("small", small, 0), ("large", large, 3)):
        (tmp_path / folder).mkdir()
        assert _survey_of(tmp_path / folder, {"a.png": mask, "b.png": mask}).radius == radius
    # An IoU of 0.98 is enough, and what comes after the first radius that is too large does not count.
    assert largest_radius(np.array([[100, 100], [98, 100], [97, 100], [99, 100]])) == 1
    assert largest_radius(np.array([[0, 0], [0, 0]])) == 1
