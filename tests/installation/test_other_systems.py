"""The package on a system that is not POSIX: whatever Windows lacks is imported and called only behind a guard.

`make lint` checks the same by types, for macOS and Windows. Here it is tried.
"""

import ast
import subprocess
import sys

import pytest

from imports import third_party
from pipeline_files import ROOT
from project_copy import environment

PACKAGE = ROOT / "src" / "microseg"

LIKE_WINDOWS = """
import importlib, os, sys

# Other people's packages ask sys.platform, which cannot be changed, and have their own guards: they come first.
for module in sys.argv[1].split(","):
    importlib.import_module(module)
for module in ("curses", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"):
    sys.modules[module] = None
for name in ("fork", "forkpty", "getpgid", "getuid", "killpg", "register_at_fork", "sched_getaffinity", "setsid"):
    delattr(os, name)
"""
IMPORT_ALL = "for module in sys.argv[2].split(','):\n    importlib.import_module(module)\n"
ASK_FOR_HELP = "from microseg.console.program import main\nmain(sys.argv[2:])\n"


def module_name(file):
    return ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def writes_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    modes = {argument.value for argument in call.args if isinstance(argument, ast.Constant)}
    return name == "write_text" or (name == "open" and bool(modes & {"a", "w", "x"}))


def test_files_have_the_same_encoding_and_line_ends_whatever_the_system():
    calls = [
        (file.name, node)
        for file in [*PACKAGE.rglob("*.py"), *(ROOT / "stages").glob("*.py")]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and writes_text(node)
    ]
    assert len(calls) >= 5
    for file, call in calls:
        assert {keyword.arg for keyword in call.keywords} >= {"encoding", "newline"}, f"{file}, line {call.lineno}"


def like_windows(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    first = ",".join(sorted(third_party(PACKAGE.rglob("*.py"), own=["microseg"])))
    return subprocess.run(
        [sys.executable, "-c", LIKE_WINDOWS + program, first, *arguments],
        env=environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="here the other tests show it")
def test_every_module_can_be_imported():
    modules = sorted(map(module_name, PACKAGE.rglob("*.py")))
    assert "microseg.training.checkpoints" in modules
    done = like_windows(IMPORT_ALL, ",".join(modules))
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="here the other tests show it")
def test_the_console_program_helps():
    done = like_windows(ASK_FOR_HELP, "--help")
    assert done.returncode == 0, done.stderr
    assert "COMMAND" in done.stdout
