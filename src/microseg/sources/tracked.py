"""Refusing micrographs and weights of one's own that neither DVC nor git tracks.

DVC reruns a stage whose dependency is missing, and removes its outputs first. A colleague who has pulled data/raw
but cannot get the folder it was made from would lose it, and every result with it.
"""

import subprocess
from pathlib import Path

from microseg.common.errors import InputError
from microseg.common.params_file import read_yaml

CONTENT = ("images", "annotations.csv", "annotations.json", "annotations", "masks", "metadata.csv", "review.csv")
"""What the folder source reads."""


def require_tracked(folder: Path) -> None:
    """Check that DVC or git tracks everything that the folder source reads in `folder`.

    Outside of a DVC project nothing has to be tracked; a missing folder is left to its reader.

    Raises:
        InputError: the folder lies outside the project, or something in it is not tracked. The message has the
            command to type.
    """
    project = _project()
    if project is None or not folder.is_dir():
        return
    if not folder.resolve().is_relative_to(project.resolve()):
        inside = f"data/{folder.resolve().name}"
        raise InputError(
            f"{folder}: lies outside the project, so colleagues cannot get it; type: dvc add {folder} "
            f"--out {inside} and set download.path to {inside}"
        )
    present = [folder / name for name in CONTENT if (folder / name).exists()]
    untracked = [path for path in present if not (_dvc_tracks(path, project) or _git_tracks(path))]
    if untracked:
        raise InputError(
            f"{untracked[0]}: neither DVC nor git tracks it, so colleagues cannot get it; type: dvc add "
            f"{' '.join(path.as_posix() for path in untracked)} and start again"
        )


def is_tracked(path: Path) -> bool:
    """Return whether DVC or git tracks a file or folder; True for everything outside of a DVC project."""
    project = _project()
    return project is None or _dvc_tracks(path, project) or _git_tracks(path)


def _project() -> Path | None:
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc" / "config").is_file()), None)


def _dvc_tracks(path: Path, project: Path) -> bool:
    path = path.absolute()
    inside = [one for one in (path, *path.parents) if project in one.parents]
    return any(_records(one.with_name(f"{one.name}.dvc"), one.name) for one in inside)


def _records(file: Path, name: str) -> bool:
    """Return whether a .dvc file is there and has the content of the output `name`."""
    content = read_yaml(file, "no such file") if file.is_file() else None
    outputs = content.get("outs") if isinstance(content, dict) else None
    return any(one.get("path") == name and ("md5" in one or "files" in one) for one in outputs or ())


def _git_tracks(path: Path) -> bool:
    """Return whether git tracks a file, or every file of a folder that is not hidden."""
    try:
        listed = subprocess.run(["git", "ls-files", "--error-unmatch", path], capture_output=True, check=False)
        others = subprocess.run(
            ["git", "ls-files", "--others", "--exclude=.*", path], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return listed.returncode == 0 and not others.stdout
