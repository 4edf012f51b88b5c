"""Fixtures of runs: a request for five micrographs, and a network that segments bright pixels."""

import numpy as np
import pytest

from microseg.measurement.predictor import Predictor
from microseg.measurement.settings import Request, Settings
from microseg.prediction.logits import LARGEST

from drawn_micrographs import write_disks, write_tiny_model

NAMES = ["a.png", "b.tif", "c.jpg", "d.png", "e.png"]

BRIGHT = 128
"""The fake network takes pixels above this grey value for foreground."""


@pytest.fixture
def sees_bright(monkeypatch):
    """Replace the network by one whose logit is a tenth of the grey value above BRIGHT."""

    def logits(_, micrograph, factor, valid=None):
        assert factor == 1
        logits = ((micrograph.astype(np.float32) - BRIGHT) / 10).astype(np.float16)
        return logits if valid is None else np.where(valid, logits, np.float16(-LARGEST))

    monkeypatch.setattr(Predictor, "logits", logits)


@pytest.fixture
def request_for(tmp_path, sees_bright):  # noqa: ARG001 (replaces the network)
    """Return a function that makes a request for five micrographs, with the given changes."""
    masks = write_disks(tmp_path / "heat42", NAMES)
    model = write_tiny_model(tmp_path / "model")

    def make(**changes):
        settings = {name: changes.pop(name) for name in list(changes) if name in Settings.__dataclass_fields__}
        given = {"folder": tmp_path / "heat42", "model": str(model), "output": tmp_path / "out", **changes}
        return Request(settings=Settings(**settings), **given)

    make.masks = masks
    return make
