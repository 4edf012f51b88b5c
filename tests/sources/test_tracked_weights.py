"""Your own weights are used only if DVC or git tracks them; the error says what to type."""

import contextlib
import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from microseg.common.errors import InputError
from microseg.sources.pretrained_weights import model_digest, tracked_path

OWN = Path("data/weights")
WORDS = ("none", "imagenet")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """An empty project of git and, seemingly, of DVC; the working directory lies in it."""
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc" / "config").touch()
    (project / OWN / "model").mkdir(parents=True)
    (project / OWN / "model" / "unet.json").write_text("{}")
    (project / OWN / "w.pth").write_bytes(b"weights")
    subprocess.run(["git", "init", "--quiet", project], check=True)
    monkeypatch.chdir(project)
    return project


def dvc_file(path):
    """Write the .dvc file of what `dvc add` has put under control."""
    path.with_name(f"{path.name}.dvc").write_text(f"outs:\n- md5: {'a' * 32}\n  hash: md5\n  path: {path.name}\n")


@pytest.mark.parametrize("name", ["w.pth", "model"])
def test_untracked_weights_are_refused(name):
    message = (
        f"neither DVC nor git tracks data/weights/{name}, .* type: dvc add data/weights/{name} and start again"
    )
    with pytest.raises(InputError, match=f"params.yaml: train.encoder_weights: {message}"):
        tracked_path(f"data/weights/{name}", OWN, WORDS)


@pytest.mark.parametrize("name", ["w.pth", "model"])
def test_weights_that_dvc_or_git_tracks_are_used(name):
    dvc_file(OWN / name)
    assert tracked_path(f"data/weights/{name}", OWN, WORDS) == OWN / name
    (OWN / f"{name}.dvc").unlink()
    subprocess.run(["git", "add", OWN / name], check=True)
    assert tracked_path(f"data/weights/{name}", OWN, WORDS) == OWN / name


def test_a_link_into_the_cache_is_used(project):
    (OWN / "w.pth").replace(project / ".dvc" / "content")
    (OWN / "w.pth").symlink_to(project / ".dvc" / "content")
    dvc_file(OWN / "w.pth")
    assert tracked_path("data/weights/w.pth", OWN, WORDS).read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("value", "name"), [("../mine.pth", "mine.pth"), ("models", "models"), ("data/weights", "weights")]
)
def test_weights_elsewhere_are_refused(project, value, name):
    (project.parent / "mine.pth").touch()
    (project / "models").mkdir()
    message = f"type: dvc add {value} --out data/weights/{name} and set the parameter to data/weights/{name}"
    with pytest.raises(InputError, match=re.escape(message)):
        tracked_path(value, OWN, WORDS)


def test_outside_of_a_project_they_need_not_be_tracked(project):
    with contextlib.chdir(project.parent):
        own = Path("project") / OWN
        (project / ".dvc" / "config").unlink()
        assert tracked_path("project/data/weights/w.pth", own, WORDS) == own / "w.pth"


def test_a_folder_without_a_model_is_refused():
    (OWN / "model" / "unet.json").unlink()
    dvc_file(OWN / "model")
    with pytest.raises(InputError, match="data/weights/model holds no model card; give a file, or the folder of"):
        tracked_path("data/weights/model", OWN, WORDS)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("imagent", "imagenet"),
        ("data/weights/v.pth", "data/weights/w.pth"),
        ("weights/model", "data/weights/model"),
    ],
)
def test_missing_weights_suggest_similar_ones(value, meant):
    with pytest.raises(
        InputError, match=rf"'{value}' is neither one of none, imagenet nor an existing .* mean {meant}\?"
    ):
        tracked_path(value, OWN, WORDS)


def test_weights_that_only_dvc_has_are_to_be_pulled():
    (OWN / "w.pth").rename(OWN / "other.pth")
    dvc_file(OWN / "w.pth")
    with pytest.raises(
        InputError, match=r"data/weights/w\.pth is not here, .*; type: dvc pull data/weights/w\.pth$"
    ):
        tracked_path("data/weights/w.pth", OWN, WORDS)


def test_the_digest_of_a_model_is_that_of_the_list_of_its_files(tmp_path):
    folder = tmp_path / "model"
    (folder / "more").mkdir(parents=True)
    (folder / "unet.json").write_bytes(b"{}")
    (folder / "more" / "b").write_bytes(b"b")
    lines = f"{hashlib.sha256(b'b').hexdigest()}  more/b\n{hashlib.sha256(b'{}').hexdigest()}  unet.json\n"
    assert model_digest(folder) == hashlib.sha256(lines.encode()).hexdigest()
