"""Reliability measured from files: all micrographs counted together, and the IoU at the validation threshold."""

import numpy as np
import pytest

from microseg.common.errors import InputError
from microseg.evaluation.calibration import reliability, reliability_table
from microseg.micrographs.images import write_mask
from microseg.prediction.logits import write_logits
from microseg.prediction.reliability import measure_probabilities

GROUND_TRUTH = np.array([[True, True, False, False]])
LOGITS = {"a.png": [[2.0, 0.5, 0.25, -3.0]], "b.png": [[1.0, -1.0, -1.0, -1.0]]}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "masks").mkdir()
    for name, values in LOGITS.items():
        write_mask(tmp_path / "masks" / name, GROUND_TRUTH)
        write_logits(tmp_path / "logits", name, np.array(values))
    return tmp_path


def test_micrographs_are_counted_together_and_segmented_at_the_validation_threshold(folder):
    measured = measure_probabilities(list(LOGITS), folder / "logits", folder / "masks", 0.3)
    assert np.array_equal(
        measured.counts, sum(reliability(GROUND_TRUTH, np.array(one)) for one in LOGITS.values())
    )
    assert sum(pixels for _, _, pixels in reliability_table(measured.counts)) == 8
    # Above 0.3 the first micrograph is right, the second has one of two pixels.
    assert measured.mean_iou == pytest.approx((1 + 0.5) / 2)
    assert measured.metrics()["validation_threshold"] == pytest.approx(0.5744, abs=1e-4)


def test_missing_logits_are_named(folder):
    (folder / "logits" / "b.npy").unlink()
    with pytest.raises(InputError, match=r"b\.npy: no logits"):
        measure_probabilities(list(LOGITS), folder / "logits", folder / "masks", 0.0)
