"""The commands of the README work as they stand there, one after the other."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from documented_commands import run_as_typed, to_run
from documents import ALL_COMMANDS, README
from pipeline_files import ROOT


@pytest.fixture(scope="module")
def followed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A project in which someone has typed all commands of the README, and what each of them said."""
    folder = tmp_path_factory.mktemp("readme")
    project = Path(shutil.copytree(finished, folder / "project", symlinks=True))
    shutil.copytree(finished / "data/raw/images", folder / "my_micrographs/images")
    shutil.copy2(finished / "data/raw/annotations.csv", folder / "my_micrographs")
    (folder / "new_micrographs").mkdir()
    for image in sorted((finished / "data/raw/images").iterdir())[:2]:
        shutil.copy2(image, folder / "new_micrographs")
    return project, {command.text: run_as_typed(command, project) for command in to_run(README)}


def output(said: dict[str, str], beginning: str) -> str:
    """Return what the only command that begins like this has said."""
    (found,) = (text for command, text in said.items() if command.startswith(beginning))
    return found


def test_the_network_is_trained_on_ones_own_micrographs(followed: tuple[Path, dict[str, str]]) -> None:
    project, said = followed
    assert "Running stage 'download'" in output(said, "dvc exp run -n mine")
    assert "sigmoid.mean_iou" in output(said, "dvc metrics show")
    evaluation = json.loads((project / "reports/evaluation/evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["dataset"]["source"] == "folder"


def test_new_micrographs_are_measured(followed: tuple[Path, dict[str, str]]) -> None:
    project, _ = followed
    assert (project / "measured/report.html").is_file()
    with (project / "measured/fields.csv").open(encoding="utf-8") as file:
        assert [row["pixel_size_um"] for row in csv.DictReader(file)] == ["0.05", "0.05"]


def test_the_reference_names_all_that_was_measured(followed: tuple[Path, dict[str, str]]) -> None:
    project, _ = followed
    reference = (ROOT / "docs" / "reference" / "files-and-columns.md").read_text(encoding="utf-8")
    section = reference.split("\n## microseg segment\n")[1].split("\n## ")[0]
    for file in (project / "measured").iterdir():
        assert f"`{file.name}" in section, file.name
        if file.suffix == ".csv":
            columns = file.read_text(encoding="utf-8").splitlines()[0].split(",")
            assert not [column for column in columns if f"`{column}`" not in section], file.name


def test_an_experiment_is_compared_with_the_commit(followed: tuple[Path, dict[str, str]]) -> None:
    project, said = followed
    assert "e40" in output(said, "dvc exp show")
    assert "sigmoid.mean_iou" in output(said, "dvc metrics diff")
    assert (project / "dvc_plots/index.html").is_file()
    assert "## workspace against HEAD" in output(said, "microseg compare")


def test_an_experiment_is_chosen_on_the_validation_micrographs(followed: tuple[Path, dict[str, str]]) -> None:
    project, _ = followed
    best = next(command for command in ALL_COMMANDS if command.text == "microseg experiments --best")
    assert "Chosen on the validation micrographs: e40" in run_as_typed(best, project)
