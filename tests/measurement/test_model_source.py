"""A model comes from a folder or a revision of a repository, with its evaluation."""

import json
import shutil
from dataclasses import replace

import pytest

from microseg.common.errors import InputError
from microseg.measurement.model import evaluated_settings, open_model, read_evaluation, unlike_evaluation
from microseg.measurement.settings import Area, Settings
from microseg.network.model_card import read_card

from drawn_micrographs import write_tiny_model
from project_copy import commit


def evaluation_of(project):
    return json.loads((project / "reports/evaluation/evaluation.json").read_text())


def test_a_folder_is_used_in_place_with_the_evaluation_in_it(tmp_path):
    model = write_tiny_model(tmp_path / "model")
    weights = json.loads((model / "model.json").read_text())["weights_sha256"]
    with open_model(str(model)) as folder:
        assert folder == model
        assert read_evaluation(folder) is None
        evaluation = {"sigmoid": {}, "model": {"weights": weights[:16]}}
        (model / "evaluation.json").write_text(json.dumps(evaluation))
        assert read_evaluation(folder) == evaluation
        (model / "evaluation.json").write_text("{")
        with pytest.raises(InputError, match=r"evaluation\.json: not JSON"):
            read_evaluation(folder)


@pytest.mark.parametrize("content", ['{"sigmoid": {}}', '{"model": {"weights": "0123456789abcdef"}}', "[]"])
def test_the_evaluation_of_another_model_or_an_older_version_is_ignored(tmp_path, content):
    model = write_tiny_model(tmp_path / "model")
    (model / "evaluation.json").write_text(content)
    assert read_evaluation(model) is None


def test_the_model_of_a_project_has_the_evaluation_among_its_reports(project):
    assert read_evaluation(project / "models") == evaluation_of(project)
    error = evaluation_of(project)["sigmoid"]["area_fraction_error"]
    assert {"mean", "micrographs"} <= set(error)


def test_a_model_is_fetched_at_a_revision_with_its_evaluation(project):
    shutil.rmtree(project / "models")
    (project / "models").mkdir()
    (project / "models/model.json").write_text("{}")
    with open_model(f"{project}#HEAD") as folder:
        assert {"model.safetensors", "model.json", "evaluation.json"} <= {path.name for path in folder.iterdir()}
        assert json.loads((folder / "model.json").read_text())["network"] == "UNet"
        assert read_evaluation(folder) == evaluation_of(project)
    assert not folder.exists()


def test_a_revision_that_was_not_evaluated_has_no_evaluation(project):
    (project / "reports/evaluation/evaluation.json").unlink()
    commit(project, "no evaluation")
    with open_model(f"{project}#HEAD") as folder:
        assert (folder / "model.safetensors").is_file()
        assert read_evaluation(folder) is None


def test_a_revision_that_cannot_be_fetched_is_named(project):
    with pytest.raises(InputError, match=r"#v9: DVC cannot fetch models from there: .*v9"):
        open_model(f"{project}#v9").__enter__()


def made_with(temperature, **changes):
    postprocess = {
        "sigmoid_threshold": 0.5,
        "morphology_threshold": "otsu",
        "opening_radius": 1,
        "closing_radius": 2,
    }
    return {"settings": {"temperature": temperature, "postprocess": postprocess | changes}}


@pytest.fixture
def card(tmp_path):
    return replace(read_card(write_tiny_model(tmp_path / "model")), temperature=2.0, best_logit=-0.5)


def test_a_run_makes_masks_as_the_evaluation_did(card):
    settings = evaluated_settings(Settings(tta=True), card, made_with(2.0, sigmoid_threshold=0.1))
    assert settings == Settings(
        tta=True, threshold=pytest.approx(0.1), morphology_threshold="otsu", opening_radius=1, closing_radius=2
    )


def test_thresholds_of_logits_that_were_not_divided_are_converted(card):
    evaluation = made_with(1.0, sigmoid_threshold=0.2, morphology_threshold=3.0)
    settings = evaluated_settings(Settings(), card, evaluation)
    # The logit of 0.2 is ln 0.25; a run divides it by 2, and the sigmoid of ln 0.5 is a third.
    assert (settings.threshold, settings.morphology_threshold) == (pytest.approx(1 / 3), 1.5)


@pytest.mark.parametrize("evaluation", [None, {"sigmoid": {}}, made_with(1.0, morphology_threshold="validation")])
def test_the_threshold_of_the_validation_micrographs_is_divided_by_the_temperature(card, evaluation):
    settings = evaluated_settings(Settings(), card, evaluation)
    assert settings.threshold == pytest.approx(0.5)
    assert settings.morphology_threshold == -0.25


@pytest.mark.parametrize("change", [{"opening_radius": -1}, {"another": 1}])
def test_an_evaluation_with_unknown_settings_is_refused(card, change):
    with pytest.raises(InputError, match=r"evaluation\.json: unknown settings .*; rerun the stage evaluate"):
        evaluated_settings(Settings(), card, made_with(1.0, **change))


def test_what_a_run_does_unlike_the_evaluation_is_said():
    then = {"settings": {"predict": {"tta": "none", "tile_size": None}}}
    assert unlike_evaluation(Settings(), then) == unlike_evaluation(Settings(tta=True), None) == []
    changed = Settings(tta=True, tile_size=256, min_area=Area(20, in_pixels=True), resample=True)
    assert unlike_evaluation(changed, then) == [
        "test-time augmentation is d4, there none",
        "size of the tiles is 256, there none",
        "small islands are excluded, there they count",
        "micrographs are resampled, there they are not",
    ]
    assert "not known" in unlike_evaluation(Settings(), {"sigmoid": {}})[0]


def test_test_time_augmentation_that_was_not_trained_is_refused(card):
    trained = {"augment": card.training["augment"] | {"flips": "hflip"}}
    with pytest.raises(InputError, match=r"--tta: the model was trained with train\.augment\.flips hflip"):
        evaluated_settings(Settings(tta=True), replace(card, training=card.training | trained), None)
    assert evaluated_settings(Settings(tta=True), replace(card, training={}), None).tta
