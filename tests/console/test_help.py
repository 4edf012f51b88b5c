"""`microseg --help` and the help of each command come at once: nothing heavy is imported for them."""

import subprocess
import sys

import pytest

from microseg.console.program import COMMANDS

from pipeline_files import ROOT
from project_copy import environment

HEAVY = ("PIL", "dvc", "matplotlib", "numpy", "pandas", "pydantic", "requests", "scipy", "skimage", "torch")
ASK = f"""
import sys
from microseg.console.program import main
try:
    main(sys.argv[1:])
finally:
    print("imported:", *sorted(set({HEAVY}) & sys.modules.keys()))
"""


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(command: list[str]):
    done = subprocess.run(
        [sys.executable, "-c", ASK, *command, "--help"],
        env=environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"usage: {' '.join(['microseg', *command])}")
    assert done.stdout.splitlines()[-1] == "imported:"


def test_help_names_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "microseg.console.program", "--help"],
        env=environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        check=True,
    )
    for name, line in COMMANDS.items():
        assert name in done.stdout
        assert line in done.stdout
