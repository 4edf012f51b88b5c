"""A copy of this project with small parameters, in which tests run DVC for real."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

from pipeline_files import ROOT

# A whole pipeline in seconds: enough micrographs for every part, a network that cannot learn much.
SMALL = {
    "download.synthetic.images": 8,
    "download.synthetic.height": 128,
    "download.synthetic.width": 160,
    "rasterize_masks.examples": 2,
    "split.test_size": 2,
    "train.base_channels": 4,
    "train.epochs": 2,
    "train.crop_size": 64,
    "train.crops_per_micrograph": 2,
    "train.batch_size": 4,
    "train.num_workers": 0,
    "evaluate.examples": 2,
    "evaluate.robustness": "none",
}


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which the programs of this Python come first, as in an activated one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    identity = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
    }
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **identity, **more}


def run(*command: str, cwd: Path, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its two outputs come back as one text in `stdout`."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done


def set_params(folder: Path, values: Mapping[str, object]) -> None:
    """Change parameters in the params.yaml of a project, keeping its comments."""
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    for key, value in values.items():
        *sections, leaf = key.split(".")
        section = params
        for name in sections:
            section = section[name]
        section[leaf] = value
    yaml.dump(params, folder / "params.yaml")


def copy_project(target: Path, params: Mapping[str, object] = SMALL) -> Path:
    """Copy what git would commit of this project to `target`, without dvc.lock, and commit it there."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split("\n")
    for name in filter(None, listed):
        if name != "dvc.lock" and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    set_params(target, params)
    run("git", "init", "--quiet", "--initial-branch=main", cwd=target)
    commit(target, "small copy")
    return target


def commit(folder: Path, message: str) -> None:
    """Commit everything in a project that git does not ignore."""
    run("git", "add", "--all", cwd=folder)
    run("git", "commit", "--quiet", "--allow-empty", "--message", message, cwd=folder)


def outputs(folder: Path) -> dict[str, bytes]:
    """Return the content of everything the pipeline wrote, but for what tells the time it took.

    What a killed stage had written beside its outputs does not count: it is there until that stage runs again.
    """
    places = ("data", "models", "metrics", "plots", "reports")
    names = (path for place in places for path in (folder / place).rglob("*"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in names
        if path.is_file()
        and path.name not in ("train.csv", "training.json")
        and not any(part.endswith(".partial") for part in path.relative_to(folder).parts)
    }


def stages_run(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
