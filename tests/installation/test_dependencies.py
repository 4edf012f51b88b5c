"""pyproject.toml declares what the code imports; the lock files pin it and all that it needs in turn.

The stages depend on requirements.lock, which holds what the package needs. requirements-dev.lock holds what the
extras need beside that, such as tools, whose new versions change no result.
"""

import shutil
import subprocess
import tomllib
from importlib.metadata import packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from imports import third_party
from pipeline_files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = ("requirements.lock", "requirements-dev.lock")
OWN = {path.stem for folder in ("stages", "tests", "tests/helpers") for path in (ROOT / folder).glob("*.py")}

NOT_IMPORTED = {"dvc-s3"}
"""What DVC loads by its name."""

FOR_CUDA = ("cuda-", "nvidia-", "triton")
"""What PyTorch's builds for GPUs bring along, in versions that they choose. Its builds without CUDA stay small."""


def declared(texts: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in texts} - {"microseg"}


def distributions(*folders: str) -> set[str]:
    """Return the distributions that the files of these folders import from."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    modules = {module.split(".")[0] for module in third_party(files, own={"microseg", *OWN})}
    known = packages_distributions()
    return {canonicalize_name(known[module][0]) for module in modules}


def lines(lock: str) -> list[str]:
    return (ROOT / lock).read_text(encoding="utf-8").splitlines()


def pins(*locks: str) -> dict[str, str]:
    found = (line.split("==") for lock in locks for line in lines(lock))
    return {canonicalize_name(name): version for name, version in found}


def needed(texts: list[str]) -> list[tuple[str, Requirement]]:
    """Return what declared requirements need on this system, in turn, each with who needs it."""
    found: list[tuple[str, Requirement]] = []
    done = set()
    waiting = [("pyproject.toml", text, "") for text in texts]
    while waiting:
        whose, text, extra = waiting.pop()
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name == "microseg" or name.startswith(FOR_CUDA):
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        found.append((whose, requirement))
        for wanted in {"", *requirement.extras} - {extra for other, extra in done if other == name}:
            done.add((name, wanted))
            waiting += [(name, needs, wanted) for needs in requires(name) or []]
    return found


def test_what_the_code_imports_is_declared_and_nothing_else():
    assert declared(PROJECT["dependencies"]) - NOT_IMPORTED == distributions("src", "stages") - declared(
        EXTRAS["cluster"]
    )


def test_what_tests_and_benchmarks_import_is_declared_for_developers():
    everything = declared([*PROJECT["dependencies"], *EXTRAS["cluster"], *EXTRAS["dev"]])
    assert distributions("tests", "benchmarks") <= everything


def test_every_declared_requirement_has_a_lower_bound():
    for text in [*PROJECT["dependencies"], *EXTRAS["cluster"], *EXTRAS["dev"]]:
        requirement = Requirement(text)
        assert requirement.name == "microseg" or [part.operator for part in requirement.specifier] == [">="]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_sorted(lock: str):
    names = [line.split("==")[0] for line in lines(lock)]
    assert names == sorted(names, key=str.lower)


def test_no_distribution_is_pinned_twice():
    assert len(pins(*LOCKS)) == sum(len(lines(lock)) for lock in LOCKS)


@pytest.mark.parametrize(
    ("requirements", "locks"),
    [(PROJECT["dependencies"], LOCKS[:1]), *((requirements, LOCKS) for requirements in EXTRAS.values())],
    ids=["dependencies", *EXTRAS],
)
def test_what_is_needed_is_pinned_within_everybody_s_bounds(requirements: list[str], locks: tuple[str, ...]):
    pinned = pins(*locks)
    for whose, requirement in needed(requirements):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{whose} needs {requirement}, but {' and '.join(locks)} do not pin it"
        assert requirement.specifier.contains(pinned[name], prereleases=True), f"{whose} needs {requirement}"


def test_a_tool_s_new_version_runs_no_stage_again():
    package, tools = (
        {canonicalize_name(requirement.name) for _, requirement in needed(texts)}
        for texts in (PROJECT["dependencies"], EXTRAS["dev"])
    )
    assert pins(LOCKS[0]).keys() & (tools - package) == set()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_only_pytorch_comes_from_an_index_of_its_own():
    """Of two indexes side by side pip takes any package from either: a name on one could replace it."""
    command = ["make", "--dry-run", "--what-if=requirements.lock", "TORCH_INDEX=https://torch.example", "setup"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    torch, *others = [line for line in done.stdout.replace("\\\n", "").splitlines() if "pip install" in line]
    assert torch.startswith("grep -E '^torch(vision)?==' requirements.lock | ")
    assert "--no-deps --index-url https://torch.example --requirement /dev/stdin" in torch
    assert len(others) == 2
    assert not any("index" in line for line in others)


def test_no_second_index_stands_beside_pypi():
    files = [ROOT / "Makefile", ROOT / "README.md", *(ROOT / ".ci").iterdir(), *(ROOT / "docs").rglob("*.md")]
    files += [*(ROOT / ".github").rglob("*.yml"), *(ROOT / ".devcontainer").iterdir()]
    for file in files:
        assert "extra-index" not in file.read_text(encoding="utf-8").lower().replace("_", "-"), file
