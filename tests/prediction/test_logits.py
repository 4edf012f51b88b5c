"""Logits are read as they were written, and broken files are named."""

import numpy as np
import pytest

from microseg.common.errors import InputError
from microseg.prediction.logits import read_logits, write_logits


def test_round_trip_in_half_precision(tmp_path):
    logits = np.random.default_rng(0).normal(scale=5, size=(20, 30))
    write_logits(tmp_path, "IMG_00001.png", logits)
    assert (tmp_path / "IMG_00001.npy").is_file()
    restored = read_logits(tmp_path, "IMG_00001.png")
    assert restored.dtype == np.float16
    np.testing.assert_array_equal(restored, logits.astype(np.float16))


def test_huge_logits_stay_finite(tmp_path):
    write_logits(tmp_path, "a.png", np.array([[-1e9, 1e9]]))
    assert read_logits(tmp_path, "a.png").tolist() == [[-65504.0, 65504.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.npy: not a NumPy array file"),
        (b"\x93NUMPY\x01\x00", r"a\.npy: not a NumPy array file"),
        (None, r"a\.npy: no logits of a\.png"),
    ],
)
def test_broken_and_missing_files_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_logits(tmp_path, "a.png")


@pytest.mark.parametrize(
    "logits", [np.zeros((2, 3), np.float32), np.zeros(3, np.float16), np.full((2, 2), np.nan, np.float16)]
)
def test_other_arrays_are_refused(tmp_path, logits):
    np.save(tmp_path / "a.npy", logits)
    with pytest.raises(InputError, match="expected finite float16 logits"):
        read_logits(tmp_path, "a.png")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a NumPy array file"):
        read_logits(tmp_path, "a.png")
