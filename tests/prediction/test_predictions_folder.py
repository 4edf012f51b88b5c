"""A folder of masks from a folder of logits: the same from one process and from several, complete or absent."""

import json

import numpy as np
import pytest

from microseg.common import parallel
from microseg.common.errors import InputError
from microseg.common.params import PostprocessParams
from microseg.micrographs.images import read_mask
from microseg.prediction.logits import read_settings, write_logits
from microseg.prediction.postprocessing import METHODS, morphological_mask, write_predictions

PARAMS = PostprocessParams(
    sigmoid_threshold=0.5, morphology_threshold="validation", opening_radius=1, closing_radius=1
)
MADE_WITH = {"predict": {"tta": "none"}, "temperature": 2.0, "best_logit": 1.25}
NAMES = [f"IMG_{number:05d}.png" for number in range(6)]


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(5)
    for name in NAMES:
        write_logits(tmp_path / "logits", name, random.normal(scale=3, size=(20, 30)))
    (tmp_path / "logits" / "settings.json").write_text(json.dumps(MADE_WITH))
    return tmp_path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_several_processes_write_what_one_does(data, monkeypatch):
    results = []
    for number, items in enumerate((len(NAMES), len(NAMES) // 2)):
        monkeypatch.setattr(parallel, "ITEMS_FOR_A_PROCESS", items)
        folder = data / f"predictions{number}"
        write_predictions(NAMES, data / "logits", folder, PARAMS)
        results.append(contents(folder))
    assert len(results[0]) == len(NAMES) * len(METHODS)
    assert results[0] == results[1]


def test_the_masks_are_those_of_the_logits(data):
    write_predictions(NAMES[:1], data / "logits", data / "predictions", PARAMS)
    logits = np.load(data / "logits" / "IMG_00000.npy")
    assert np.array_equal(read_mask(data / "predictions" / "sigmoid" / NAMES[0]), logits > 0)
    expected = morphological_mask(logits, 1.25, 1, 1)
    assert np.array_equal(read_mask(data / "predictions" / "morphology" / NAMES[0]), expected)
    assert not np.array_equal(expected, morphological_mask(logits, "otsu", 1, 1))
    assert read_settings(data / "predictions") == MADE_WITH | {"postprocess": PARAMS.model_dump()}


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), ("{", "not JSON")])
def test_logits_whose_settings_are_not_known_are_refused(data, content, reason):
    path = data / "logits" / "settings.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=rf"settings\.json: {reason}.*rerun the stages predict and postprocess"):
        write_predictions(NAMES, data / "logits", data / "predictions", PARAMS)


def test_a_field_without_islands_has_no_foreground_at_the_threshold_of_the_validation_micrographs(data):
    field = np.random.default_rng(0).normal(-6, 0.5, size=(200, 200))
    write_logits(data / "logits", NAMES[0], field)
    for threshold, fractions in (("validation", (0, 0.005)), ("otsu", (0.1, 0.8))):
        params = PARAMS.model_copy(update={"morphology_threshold": threshold})
        write_predictions(NAMES[:1], data / "logits", data / "predictions", params)
        found = read_mask(data / "predictions" / "morphology" / NAMES[0]).mean()
        assert fractions[0] <= found < fractions[1]


def test_missing_logits_leave_no_half_folder(data):
    with pytest.raises(InputError, match=r"no logits of IMG_00099\.png; rerun the stage predict"):
        write_predictions([*NAMES, "IMG_00099.png"], data / "logits", data / "predictions", PARAMS)
    assert not (data / "predictions").exists()
