"""Folders that outlive a run belong to the project, and experiments in copies of the project share them."""

import pytest

from microseg.common.files import project_root, shared_folder


def make_project(folder):
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").touch()
    return folder


@pytest.fixture
def project(tmp_path):
    make_project(tmp_path / "data_of_the_group")
    return make_project(tmp_path / "data_of_the_group" / "microseg")


def test_the_root_is_the_nearest_project(project):
    (project / "data" / "raw").mkdir(parents=True)
    assert project_root(project / "data" / "raw") == project


def test_copies_for_experiments_have_the_root_of_the_original_project(project):
    copy = make_project(project / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1234")
    assert project_root(copy) == project


def test_outside_any_project_it_is_the_folder_itself(tmp_path):
    assert project_root(tmp_path) == tmp_path


def test_shared_folders_are_in_the_project_or_where_the_variable_says(project, tmp_path, monkeypatch):
    monkeypatch.delenv("MICROSEG_HOME", raising=False)
    monkeypatch.chdir(project)
    assert shared_folder("checkpoints") == project / ".microseg" / "checkpoints"
    monkeypatch.setenv("MICROSEG_HOME", str(tmp_path / "group"))
    assert shared_folder("checkpoints") == tmp_path / "group" / "checkpoints"
    assert (tmp_path / "group" / "checkpoints").is_dir()
