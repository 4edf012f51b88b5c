"""Tools and files of a contributor agree with each other: container, hooks, versions."""

import json
import re
import tomllib

from documents import headings
from pipeline_files import ROOT, read_yaml

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_container_sets_up_what_make_does() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert container["image"] == f"mcr.microsoft.com/devcontainers/python:{oldest}"
    assert container["postCreateCommand"] == "make setup"
    assert container["remoteEnv"]["PATH"] == "${containerWorkspaceFolder}/.venv/bin:${containerEnv:PATH}"
    extensions = container["customizations"]["vscode"]["extensions"]
    assert {"ms-python.python", "charliermarsh.ruff", "iterative.dvc"} <= set(extensions)


def test_a_commit_is_checked_as_make_lint_checks() -> None:
    lint = MAKEFILE.split("\nlint: ")[1].split("\n\n")[0]
    expected = re.findall(r"^\t(ruff .*) \.$", lint, re.MULTILINE)
    (types,) = re.findall(r"^types-%: .*\n\t(mypy .*)$", MAKEFILE, re.MULTILINE)
    expected += [types.replace("$*", system) for system in re.findall(r"types-(\w+)", lint)]
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"  # nothing is fetched
    hooks = repository["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert [hook["entry"] for hook in hooks if not hook["entry"].startswith("git ")] == expected


def test_the_version_is_the_same_everywhere() -> None:
    citation = read_yaml("CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    newest = next(text for level, text in headings(ROOT / "CHANGELOG.md") if level == 2 and text != "[Unreleased]")
    assert newest == f"[{PROJECT['version']}] - {citation['date-released']}"
