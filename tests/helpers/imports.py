"""Which modules the files of a folder import, wherever in them."""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path


def imported_modules(files: Iterable[Path]) -> set[str]:
    """Return the full names of the modules that files import, such as "numpy.typing"."""
    modules = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module)
    return modules


def third_party(files: Iterable[Path], own: Iterable[str]) -> set[str]:
    """Return those of the imported modules that are neither Python's nor our `own`, as full names."""
    left_out = {*sys.stdlib_module_names, *own}
    return {module for module in imported_modules(files) if module.split(".")[0] not in left_out}
