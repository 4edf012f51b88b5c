"""Every command in the documents is run: here in the order of its page, or by another test, or cannot be."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from documented_commands import NOT_RUN, RUN_ELSEWHERE, matches, run_as_typed, to_run
from documents import ALL_COMMANDS, DOCUMENTS, README, Command, commands, job_scripts, name_of
from pipeline_files import ROOT
from project_copy import environment, run
from toy_project import make_toy, toy_environment

PAGES = [document for document in DOCUMENTS if document != README and to_run(document)]


def share_a_repository(project: Path) -> None:
    """Give the project an `origin` that has its branch."""
    run("git", "init", "--quiet", "--bare", "--initial-branch=main", "../origin", cwd=project)
    run("git", "remote", "add", "origin", "../origin", cwd=project)
    run("git", "push", "--quiet", "--set-upstream", "origin", "main", cwd=project)


def leave_a_change(project: Path) -> None:
    """Do also what other tests do: results that are not committed yet."""
    share_a_repository(project)
    (project / "plots/experiments/own.csv").write_text("a,b\n", encoding="utf-8")


def damage_the_lock_file(project: Path) -> None:
    """Leave what a DVC command that was killed leaves, and results that are not committed."""
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text(encoding="utf-8")[:300], encoding="utf-8")
    (project / "plots/experiments/own.csv").write_text("a,b\n", encoding="utf-8")


PREPARED: dict[str, Callable[[Path], None]] = {
    "docs/how-to/sharing.md": leave_a_change,
    "docs/how-to/several-machines.md": share_a_repository,
    "docs/how-to/troubleshooting.md": damage_the_lock_file,
}
"""What a page takes for granted before its first command."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_work_in_order(page: Path, project: Path) -> None:
    PREPARED.get(name_of(page), lambda _: None)(project)
    for command in to_run(page):
        run_as_typed(command, project)


def test_make_runs_and_draws_the_sweeps(tmp_path: Path) -> None:
    """In a project whose only stage takes a moment: the targets come to 16 trainings."""
    project = make_toy(tmp_path / "toy")
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy2(ROOT / name, project)
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/installed").touch()
    shown = [one for one in commands(README) if one.text.startswith("make sweep")]
    for command in (*shown, Command("Makefile", "make sweep-sample-size")):
        run_as_typed(command, project, JOBS="2", **toy_environment(project))
    table = (project / "plots/experiments/train.epochs.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + 4 * 3 * 2  # epochs, seeds, methods
    assert (project / "plots/experiments/split.sample_size.png").is_file()


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=lambda command: f"{command.document}: {command.text}")
def test_a_command_is_run_once_or_has_one_reason_not_to_be(command: Command) -> None:
    tables = [*matches(command, NOT_RUN), *matches(command, RUN_ELSEWHERE)]
    if command in to_run(ROOT / command.document):
        assert command.document == "README.md" or not tables
    else:
        assert command.text in {one.text for one in commands(README)} or len(tables) == 1


@pytest.mark.parametrize("pattern", [*NOT_RUN, *RUN_ELSEWHERE])
def test_the_tables_are_about_commands_of_the_documents(pattern: str) -> None:
    assert any(matches(command, {pattern: ""}) for command in ALL_COMMANDS)


@pytest.mark.parametrize("test", sorted(set(RUN_ELSEWHERE.values())))
def test_the_tests_that_run_commands_exist(test: str) -> None:
    file, name = test.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_scripts_of_jobs_are_for_slurm() -> None:
    scripts = [script for document in DOCUMENTS for script in job_scripts(document)]
    assert scripts
    assert all("#SBATCH" in script for script in scripts)


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"page\.md: ls nothing ended with"):
        run_as_typed(Command("page.md", "ls nothing"), tmp_path)
    assert environment()["PATH"]
