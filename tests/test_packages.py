"""The packages: imports between them go one way, and a stranger learns from each what it is for."""

import ast
from collections import defaultdict

import pytest

from pipeline_files import ROOT, imported_files, package_of

PACKAGE = ROOT / "src" / "microseg"
LAYERS = (
    {"common"},
    {"micrographs", "plotting.py", "splits.py"},
    {"annotations", "network", "evaluation"},
    {"training", "prediction", "sources"},
    {"measurement"},
    {"experiments"},
    {"console"},
)
"""From the bottom up: a package may import from the layers below its own, and from none beside or above it."""

LAYER_OF = {package: number for number, packages in enumerate(LAYERS) for package in packages}
PACKAGES = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")


def imports() -> dict[str, set[str]]:
    """Return for each package those that its modules import from."""
    found = defaultdict(set)
    for file in PACKAGE.rglob("*.py"):
        here = _name(file)
        found[here] |= {_name(other) for other in imported_files(file)}
    return {
        package: others - {package, "__init__.py"} for package, others in found.items() if package != "__init__.py"
    }


def _name(file):
    return package_of(file.relative_to(ROOT).as_posix()).removeprefix("src/microseg/")


def test_every_package_has_its_layer():
    assert set(imports()) == set(LAYER_OF)


def test_imports_between_packages_go_down_only():
    upward = [
        f"{package} -> {other}"
        for package, others in sorted(imports().items())
        for other in sorted(others)
        if LAYER_OF[other] >= LAYER_OF[package]
    ]
    assert not upward


@pytest.mark.parametrize("package", [*PACKAGES, "."])
def test_a_package_says_in_one_sentence_what_it_is_for_and_imports_nothing(package):
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    sentence = ast.get_docstring(tree)
    assert len(tree.body) == 1
    assert sentence is not None
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_no_module_grows_beyond_what_can_be_read_at_once():
    lengths = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
