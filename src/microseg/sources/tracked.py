"""Refusing what is one's own, micrographs or weights, where DVC could not bring it back.

A stage whose dependency is missing is run again, and DVC removes its outputs first: a colleague who has pulled
data/raw but cannot get the folder it was made from would lose it, and every result with it.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from microseg.common.errors import InputError

CONTENT = ("images", "annotations.csv", "annotations.json", "masks", "metadata.csv")
"""What the folder source reads."""


def require_tracked(folder: Path) -> None:
    """Raise an InputError, with the command to type, where neither DVC nor git keeps what `folder` holds.

    Outside of a DVC project anything goes.
    """
    project = _project()
    if project is None or not folder.is_dir():
        return
    if not folder.resolve().is_relative_to(project.resolve()):
        inside = f"data/{folder.resolve().name}"
        raise InputError(
            f"{folder}: lies outside the project, so that a colleague could not get it; type: dvc add {folder} "
            f"--out {inside} and set download.path to {inside}"
        )
    loose = [folder / name for name in CONTENT if (folder / name).exists()]
    loose = [path for path in loose if not (_kept_by_dvc(path, project) or _kept_by_git(path))]
    if loose:
        raise InputError(
            f"{loose[0]}: neither DVC nor git keeps it, so that a colleague could not get it; type: dvc add "
            f"{' '.join(path.as_posix() for path in loose)} and start again"
        )


def is_tracked(path: Path) -> bool:
    """Return whether DVC or git keeps a file or folder; outside of a DVC project anything goes."""
    project = _project()
    return project is None or _kept_by_dvc(path, project) or _kept_by_git(path)


def _project() -> Path | None:
    here = Path.cwd()
    return next((place for place in (here, *here.parents) if (place / ".dvc" / "config").is_file()), None)


def _kept_by_dvc(path: Path, project: Path) -> bool:
    return any(place.with_name(f"{place.name}.dvc").is_file() for place in _upwards(path.absolute(), project))


def _upwards(path: Path, project: Path) -> Iterator[Path]:
    while path != project and path != path.parent:
        yield path
        path = path.parent


def _kept_by_git(path: Path) -> bool:
    try:
        listed = subprocess.run(["git", "ls-files", "--error-unmatch", path], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return listed.returncode == 0
