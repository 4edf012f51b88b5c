"""The rooms of the house: arrows between them go one way, and a stranger learns from each what it is for."""

import ast
from collections import defaultdict

import pytest

from pipeline_files import ROOT, imported_files, room_of

PACKAGE = ROOT / "src" / "microseg"
STOREYS = (
    {"common"},
    {"micrographs", "splits.py"},
    {"annotations", "network", "evaluation", "folds.py"},
    {"training", "prediction", "sources"},
    {"measurement"},
    {"experiments"},
    {"console"},
)
"""From the ground up: a room may use the rooms below its own storey, and none beside or above it."""

STOREY_OF = {room: number for number, rooms in enumerate(STOREYS) for room in rooms}
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")


def arrows() -> dict[str, set[str]]:
    """Return for each room those that its modules import from."""
    found = defaultdict(set)
    for file in PACKAGE.rglob("*.py"):
        here = _name(file)
        found[here] |= {_name(other) for other in imported_files(file)}
    return {room: others - {room, "__init__.py"} for room, others in found.items() if room != "__init__.py"}


def _name(file):
    return room_of(file.relative_to(ROOT).as_posix()).removeprefix("src/microseg/")


def test_every_room_has_its_storey():
    assert set(arrows()) == set(STOREY_OF)


def test_arrows_between_rooms_go_down_only():
    upward = [
        f"{room} -> {other}"
        for room, others in sorted(arrows().items())
        for other in sorted(others)
        if STOREY_OF[other] >= STOREY_OF[room]
    ]
    assert not upward


@pytest.mark.parametrize("room", [*ROOMS, "."])
def test_a_room_says_in_one_sentence_what_it_is_for_and_imports_nothing(room):
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    sentence = ast.get_docstring(tree)
    assert len(tree.body) == 1
    assert sentence is not None
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_no_module_grows_beyond_what_can_be_read_at_once():
    lengths = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 260} == {}
