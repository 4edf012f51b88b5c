"""Parameters that the documents name exist, under the names that they have now."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from microseg.common.params import PARAMETER_KEYS
from microseg.common.params_file import RENAMED, RENAMED_VALUES
from microseg.experiments.settings import build_grid

from documents import ALL_COMMANDS, DOCUMENTS, Command, name_of, texts
from pipeline_files import ROOT

SECTIONS = sorted({key.split(".")[0] for key in PARAMETER_KEYS if "." in key})
KEY = re.compile(rf"(?<![\w/.-])(?:{'|'.join(SECTIONS)})(?:\.[a-z][a-z0-9_]*)+(?![\w/(-])")
FILE_NAMES = ("csv", "json", "jsonl", "py", "yaml", "md", "png")
KNOWN = {".".join(parts[:depth]) for parts in (key.split(".") for key in PARAMETER_KEYS) for depth in (2, 3)}
"""All parameters, and the sections in sections."""

NOW = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]


def keys(document: Path) -> Iterator[str]:
    for text in texts(document):
        for match in KEY.finditer(text):
            if match[0].rsplit(".", 1)[1] not in FILE_NAMES:
                yield match[0]


def settings_of(command: Command) -> list[str]:
    """Return what a command sets with -S, each KEY=VALUE."""
    words = command.words()
    return [value for option, value in pairwise(words) if option in ("-S", "--set-param")]


@pytest.mark.parametrize("document", NOW, ids=name_of)
def test_every_parameter_named_exists(document: Path) -> None:
    assert set(keys(document)) <= KNOWN


def test_parameters_are_found_in_text_and_in_commands() -> None:
    found = set(keys(ROOT / "docs" / "how-to" / "experiments-and-sweeps.md"))
    assert {"split.sample_size", "train.epochs", "train.seed"} <= found


@pytest.mark.parametrize(
    "command", [command for command in ALL_COMMANDS if settings_of(command)], ids=lambda command: command.text
)
def test_what_a_command_sets_is_allowed(command: Command) -> None:
    assert build_grid(settings_of(command), ROOT / "params.yaml")


def test_the_changelog_has_every_old_name_with_the_new_one() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1:3] for line in lines if line.startswith("| `")]
    for old, new in RENAMED.items():
        assert any(f"`{old}`" in before and f"`{new}`" in after for before, after in rows), old
    for (key, old), new in RENAMED_VALUES.items():
        assert any(f"`{key}`" in after and old in before and new in after for before, after in rows), (key, old)
