"""Your own micrographs are used only if DVC or git tracks them; the error says what to type."""

import contextlib
import re
import subprocess

import pytest

from microseg.common.errors import InputError
from microseg.sources.tracked import require_tracked


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project of git and, seemingly, of DVC; the working directory lies in it."""
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc" / "config").touch()
    subprocess.run(["git", "init", "--quiet", project], check=True)
    fill(project / "data" / "inbox")
    monkeypatch.chdir(project)
    return project


def fill(folder):
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").touch()
    (folder / "annotations.csv").touch()


def dvc_file(path):
    """Write the .dvc file of what `dvc add` has put under control."""
    path.with_name(f"{path.name}.dvc").write_text(f"outs:\n- md5: {'a' * 32}\n  hash: md5\n  path: {path.name}\n")


def test_an_untracked_folder_is_refused(project):
    message = "type: dvc add data/inbox/images data/inbox/annotations.csv and start again"
    with pytest.raises(InputError, match=f"data/inbox/images: neither DVC nor git tracks it, .*{message}"):
        require_tracked(project.joinpath("data/inbox").relative_to(project))


def test_content_that_dvc_tracks_is_used_and_the_rest_is_named(project):
    dvc_file(project / "data" / "inbox" / "images")
    with pytest.raises(InputError, match=r"type: dvc add data/inbox/annotations\.csv and"):
        require_tracked(project.joinpath("data/inbox").relative_to(project))
    dvc_file(project / "data" / "inbox" / "annotations.csv")
    require_tracked(project.joinpath("data/inbox").relative_to(project))


def test_a_folder_that_dvc_tracks_as_a_whole_is_used(project):
    dvc_file(project / "data" / "inbox")
    require_tracked(project / "data" / "inbox")


def test_a_table_that_git_tracks_is_used(project):
    dvc_file(project / "data" / "inbox" / "images")
    subprocess.run(["git", "add", "data/inbox/annotations.csv"], check=True)
    require_tracked(project / "data" / "inbox")


def test_a_folder_outside_the_project_is_refused(project):
    fill(project.parent / "mine")
    with pytest.raises(InputError, match=re.escape("type: dvc add ../mine --out data/mine and set download.path")):
        require_tracked(project.joinpath("../mine").relative_to(project))


def test_outside_of_a_project_any_folder_is_used(project):
    with contextlib.chdir(project.parent):
        require_tracked(project / "data" / "inbox")


def test_a_folder_that_is_missing_is_left_to_its_reader(project):
    require_tracked(project / "nowhere")


@pytest.mark.parametrize(
    "content", ["", "outs: []", "outs:\n- path: images\n", "outs:\n- md5: a\n  path: other\n"]
)
def test_a_dvc_file_without_the_content_of_the_folder_does_not_do(project, content):
    (project / "data/inbox/images.dvc").write_text(content)
    dvc_file(project / "data/inbox/annotations.csv")
    with pytest.raises(InputError, match=r"data/inbox/images: neither DVC nor git tracks it"):
        require_tracked(project.joinpath("data/inbox").relative_to(project))


def test_of_a_folder_git_has_to_track_every_file_that_is_not_hidden(project):
    images = project / "data/inbox/images"
    for name in ("b.png", "c.png", ".DS_Store"):
        (images / name).touch()
    (project / ".gitignore").write_text("c.png\n")
    subprocess.run(["git", "add", "data/inbox/annotations.csv", "data/inbox/images/a.png"], check=True)
    with pytest.raises(InputError, match=r"data/inbox/images: neither DVC nor git tracks it"):
        require_tracked(project / "data/inbox")
    subprocess.run(["git", "add", "--force", "data/inbox/images/b.png", "data/inbox/images/c.png"], check=True)
    require_tracked(project / "data/inbox")
