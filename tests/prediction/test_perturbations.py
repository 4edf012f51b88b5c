"""Perturbed micrographs, and the IoU of networks on them, by values worked out by hand."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor, nn

from microseg.common.errors import InputError
from microseg.common.params import PredictParams
from microseg.evaluation.robustness import Robustness
from microseg.micrographs.images import write_mask, write_micrograph
from microseg.network.devices import start
from microseg.network.inputs import MaskedMicrographs
from microseg.network.model_io import describe
from microseg.prediction.perturbations import measure_robustness, perturbations

from drawn_micrographs import USED
from tiny_training import blobs, tiny_params

TWO_GREYS = np.repeat(np.array([[100, 200]], np.uint8), 20, axis=0)
PREDICT = PredictParams(subset="measured", temperature_scaling=True, tile_size=None, tile_overlap=0.25, tta="none")


def perturbed(micrograph: NDArray[np.uint8], name: str = "a.png") -> dict[str, NDArray[np.uint8]]:
    return dict(perturbations(micrograph, name))


@pytest.mark.parametrize(
    ("perturbation", "low", "high"),
    [
        ("none", 100, 200),
        ("darker", 74.5, 174.5),
        ("brighter", 125.5, 225.5),
        ("lower contrast", 150 - 50 / 1.5, 150 + 50 / 1.5),
        ("higher contrast", 150 - 50 * 1.5, 150 + 50 * 1.5),
        ("lower gamma", 255 * (100 / 255) ** (1 / 1.5), 255 * (200 / 255) ** (1 / 1.5)),
        ("higher gamma", 255 * (100 / 255) ** 1.5, 255 * (200 / 255) ** 1.5),
    ],
)
def test_grey_values_by_hand(perturbation: str, low: float, high: float) -> None:
    changed = perturbed(TWO_GREYS)[perturbation]
    assert changed.dtype == np.uint8
    assert changed[0].tolist() == pytest.approx([low, high], abs=1)
    assert (changed == changed[0]).all()


def test_grey_values_beyond_black_and_white_are_clipped() -> None:
    extremes = np.array([[0, 255]], np.uint8)
    assert perturbed(extremes)["darker"].tolist() == [[0, 230]]
    assert perturbed(extremes)["higher contrast"].tolist() == [[0, 255]]


def test_blur_spreads_a_bright_line_by_its_sigma() -> None:
    line = np.zeros((9, 41), np.uint8)
    line[:, 20] = 250
    profile = perturbed(line)["blur"][4].astype(float)
    distances = np.arange(41) - 20
    assert profile.sum() == pytest.approx(250, rel=0.02)
    assert np.sqrt(np.average(distances**2, weights=profile)) == pytest.approx(1.5, rel=0.03)


def test_noise_has_its_standard_deviation_and_is_that_of_the_name() -> None:
    grey = np.full((200, 200), 128, np.uint8)
    noisy = perturbed(grey)["noise"]
    assert noisy.std() == pytest.approx(0.05 * 255, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.5)
    assert np.array_equal(noisy, perturbed(grey)["noise"])
    assert not np.array_equal(noisy, perturbed(grey, "b.png")["noise"])


def test_magnification_changes_the_size_and_nothing_else_does() -> None:
    shapes = {name: one.shape for name, one in perturbed(np.zeros((80, 100), np.uint8)).items()}
    assert shapes.pop("lower magnification") == (64, 80)
    assert shapes.pop("higher magnification") == (100, 125)
    assert set(shapes.values()) == {(80, 100)}
    assert len(shapes) == 9


class GreyThreshold(nn.Module):
    """Finds foreground where the grey value, 0 to 1, is above a half."""

    def forward(self, micrographs: Tensor) -> Tensor:
        return 100 * (micrographs - 0.5)


def measure(folder: Path, names: Iterable[str]) -> Robustness:
    """Measure what GreyThreshold finds in stripes of 80, 115, 140 and 180, the latter two of them foreground."""
    for name in names:
        for part in ("images", "masks"):
            (folder / part).mkdir(exist_ok=True)
        stripes = np.repeat(np.array([80, 115, 140, 180], np.uint8), 40)
        write_micrograph(folder / "images" / name, np.tile(stripes, (80, 1)))
        write_mask(folder / "masks" / name, np.tile(stripes > 127, (80, 1)))
    nothing = MaskedMicrographs(Path(), Path(), ())
    card = replace(describe(1, 0.5, nothing, nothing, tiny_params(), 0, USED), input_normalization="none")
    micrographs = blobs(folder, tuple(names))
    fabric = start("cpu", "float32")
    return measure_robustness(
        fabric, GreyThreshold(), card, micrographs, "test", ["" for _ in names], PREDICT, 0.5
    )


def test_the_iou_of_a_threshold_of_grey_falls_as_worked_out_by_hand(tmp_path: Path) -> None:
    names = ["a.png", "b.png"]
    measured = measure(tmp_path, names)
    assert measured.plain.tolist() == [1.0, 1.0]
    # Darker by 25.5, the 140 are below 127.5: one of two stripes. Brighter, the 115 are above it: two of three.
    assert measured.perturbed["darker"].tolist() == [1 / 2, 1 / 2]
    assert measured.perturbed["brighter"].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert measured.drops["darker"].value == pytest.approx(1 / 2)
    # Logits at another magnification are compared at the size of the annotation: no more than a column is off.
    for name in ("lower magnification", "higher magnification"):
        assert (measured.perturbed[name] >= 79 / 81).all()
    again = measure(tmp_path, names)
    assert {name: iou.tolist() for name, iou in again.perturbed.items()} == {
        name: iou.tolist() for name, iou in measured.perturbed.items()
    }


def test_a_missing_micrograph_is_named(tmp_path: Path) -> None:
    measure(tmp_path, ["a.png"])
    (tmp_path / "images/a.png").unlink()
    card = describe(1, 0.5, *[MaskedMicrographs(Path(), Path(), ())] * 2, tiny_params(), 0, USED)
    with pytest.raises(InputError, match=r"a\.png: no such image"):
        measure_robustness(
            start("cpu", "float32"),
            GreyThreshold(),
            card,
            blobs(tmp_path, ["a.png"]),
            "test",
            [""],
            PREDICT,
            0.5,
        )
