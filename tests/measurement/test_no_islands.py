"""A material without islands is a result."""

import numpy as np
from PIL import Image

from microseg.measurement.run import run


def test_a_folder_without_any_island_is_measured_and_reported(request_for, tmp_path):
    for path in (tmp_path / "heat42").rglob("*.*"):
        Image.fromarray(np.full((96, 128), 60, np.uint8)).save(path)
    results = run(request_for())
    assert results.fields["islands"].tolist() == [0] * 5
    assert "no island was found" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
