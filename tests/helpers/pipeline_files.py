"""What dvc.yaml, dvc.lock and the scripts say, for the tests that compare them."""

import ast
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


def read_yaml(name: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text(encoding="utf-8"))


STAGES: dict[str, dict[str, Any]] = read_yaml("dvc.yaml")["stages"]


def script_of(stage: str) -> Path:
    return ROOT / "stages" / f"{stage}.py"


def _module_files(module: str) -> list[Path]:
    """Return the files that importing a module of the package runs: itself and the packages above it."""
    parts = module.split(".")
    files = []
    for depth in range(1, len(parts) + 1):
        path = ROOT.joinpath("src", *parts[:depth])
        files += [file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
    return files


def _imported_modules(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            modules |= {str(node.module)} | {f"{node.module}.{name.name}" for name in node.names}
    return {module for module in modules if module.split(".")[0] == "microseg"}


def imported_files(file: Path) -> set[Path]:
    """Return the files of the project that running `file` imports directly, the packages above them included."""
    files = {path for module in _imported_modules(file) for path in _module_files(module)}
    if "\nimport bootstrap" in file.read_text(encoding="utf-8"):
        files.add(ROOT / "stages" / "bootstrap.py")
    return files


def code_of(script: Path) -> set[str]:
    """Return the script and every file that it imports, directly or not, as paths from the root."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imported_files(file)
    return {file.relative_to(ROOT).as_posix() for file in found if file.name != "__init__.py"}


def package_of(file: str) -> str:
    """Return the package that a module is in, or the module itself where it is in none of them."""
    return "/".join(file.split("/")[:3])


def parameters_of(script: Path, keys: tuple[str, ...]) -> set[str]:
    """Return the parameters a script uses: the attributes of `params` it names; a section stands for all in it."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and node not in inner:
            name = ast.unparse(node)
            if name == "params" or name.startswith("params."):
                chain = name.removeprefix("params").removeprefix(".")
                leaves = {key for key in keys if f"{key}.".startswith(f"{chain}.") or not chain}
                assert leaves, f"{script.name} uses {name}, which is no parameter"
                used |= leaves
    return used
