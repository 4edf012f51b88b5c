"""A model comes from a folder or from a revision of a repository, with what its evaluation found."""

import json
import shutil

import pytest

from microseg.common.errors import InputError
from microseg.measurement.model import opened_model, read_evaluation

from drawn_micrographs import write_tiny_model
from project_copy import commit


def metrics_of(project):
    return json.loads((project / "metrics/evaluation.json").read_text())


def test_a_folder_is_taken_as_it_is_with_the_evaluation_in_it(tmp_path):
    model = write_tiny_model(tmp_path / "model")
    weights = json.loads((model / "model.json").read_text())["weights_sha256"]
    with opened_model(str(model)) as folder:
        assert folder == model
        assert read_evaluation(folder) is None
        metrics = {"sigmoid": {}, "model": {"weights": weights[:16]}}
        (model / "evaluation.json").write_text(json.dumps(metrics))
        assert read_evaluation(folder) == metrics
        (model / "evaluation.json").write_text("{")
        with pytest.raises(InputError, match=r"evaluation\.json: not JSON"):
            read_evaluation(folder)


@pytest.mark.parametrize("content", ['{"sigmoid": {}}', '{"model": {"weights": "0123456789abcdef"}}', "[]"])
def test_metrics_of_another_model_or_of_an_older_version_are_not_taken(tmp_path, content):
    model = write_tiny_model(tmp_path / "model")
    (model / "evaluation.json").write_text(content)
    assert read_evaluation(model) is None


def test_the_model_of_a_project_has_its_metrics(project):
    assert read_evaluation(project / "models") == metrics_of(project)
    error = metrics_of(project)["sigmoid"]["area_fraction_error"]
    assert {"mean", "micrographs"} <= set(error)


def test_a_model_is_fetched_at_a_revision_with_its_evaluation(project):
    shutil.rmtree(project / "models")
    (project / "models").mkdir()
    (project / "models/model.json").write_text("{}")
    with opened_model(f"{project}#HEAD") as folder:
        assert {"model.safetensors", "model.json", "evaluation.json"} <= {path.name for path in folder.iterdir()}
        assert json.loads((folder / "model.json").read_text())["network"] == "UNet"
        assert read_evaluation(folder) == metrics_of(project)
    assert not folder.exists()


def test_a_revision_without_metrics_has_no_evaluation(project):
    (project / "metrics/evaluation.json").unlink()
    commit(project, "no metrics")
    with opened_model(f"{project}#HEAD") as folder:
        assert (folder / "model.safetensors").is_file()
        assert read_evaluation(folder) is None


def test_what_cannot_be_fetched_is_named(project):
    with pytest.raises(InputError, match=r"#v9: DVC cannot fetch models from there: .*v9"):
        opened_model(f"{project}#v9").__enter__()
