"""What the micrographs for training and validation say about the settings of a training."""

from pathlib import Path

import numpy as np
import pytest

from microseg.common.params_file import read_params
from microseg.experiments.survey import best_grey_iou, lies_off_center, survey
from microseg.micrographs.images import write_mask, write_micrograph
from microseg.splits import SplitRow, write_split

from pipeline_files import ROOT

PARAMS = read_params(ROOT / "params.yaml").split


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


def test_the_best_threshold_of_grey_may_be_below_or_above() -> None:
    background, foreground = np.zeros(256, np.int64), np.zeros(256, np.int64)
    background[[50, 100]] = 30, 70
    foreground[[100, 150]] = 10, 40
    # Above 100: 40 of 50 found, nothing wrong. From 100 on: all 50 found, 70 wrong.
    assert best_grey_iou(background, foreground) == pytest.approx(40 / 50)
    assert best_grey_iou(background[::-1].copy(), foreground[::-1].copy()) == pytest.approx(40 / 50)
    assert best_grey_iou(background, np.zeros(256, np.int64)) == 0


@pytest.mark.parametrize(("heights", "expected"), [([0.3, 0.31, 0.29, 0.3], True), ([0.3, 0.7, 0.4, 0.6], False)])
def test_a_layer_lies_off_center_and_islands_do_not(heights: list[float], expected: bool) -> None:
    assert lies_off_center(heights) is expected
