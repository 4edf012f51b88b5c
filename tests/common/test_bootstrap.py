"""Scripts use the package in their own copy of the project, whatever else is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

from pipeline_files import ROOT
from project_copy import environment

SCRIPT = """
import bootstrap

import multiprocessing

import microseg


def of_a_worker(_):
    import microseg

    return microseg.WHOSE


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(microseg.WHOSE, *pool.map(of_a_worker, [0]))
"""


def write_package(source: Path, whose: str) -> None:
    (source / "microseg").mkdir(parents=True)
    (source / "microseg" / "__init__.py").write_text(f"WHOSE = {whose!r}\n", encoding="utf-8")


def test_the_code_of_this_copy_runs_in_scripts_and_in_their_workers(tmp_path: Path):
    stages = tmp_path / "copy" / "stages"
    stages.mkdir(parents=True)
    shutil.copy(ROOT / "stages" / "bootstrap.py", stages)
    (stages / "script.py").write_text(SCRIPT, encoding="utf-8")
    write_package(tmp_path / "copy" / "src", "this copy's")
    write_package(tmp_path / "another", "another's")
    done = subprocess.run(
        [sys.executable, "copy/stages/script.py"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(tmp_path / "another")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[0] == "this copy's this copy's"
