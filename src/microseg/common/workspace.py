"""Where things are kept that outlive a run: downloads and checkpoints, shared by all experiments of a project."""

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "MICROSEG_HOME"


def project_root(start: Path | None = None) -> Path:
    """Return the DVC project that holds `start` (default: the working directory), outside of any `start` itself.

    DVC runs queued and temporary experiments in copies below `.dvc/tmp/exps` of a project; for them it is the
    project that was copied, which all of its experiments share.
    """
    here = (start or Path.cwd()).resolve()
    projects = [folder for folder in (here, *here.parents) if (folder / ".dvc" / "config").is_file()]
    copied = [folder for folder in projects if folder / ".dvc" / "tmp" / "exps" in here.parents]
    return next(iter(copied + projects), here)


def shared_folder(name: str) -> Path:
    """Return (and make) the folder `name` for what outlives a run, such as "downloads" or "checkpoints".

    It lies in `.microseg/` of the project, which git ignores, or where the environment variable MICROSEG_HOME
    points, so that several clones or machines can use one.
    """
    home = os.environ.get(ENVIRONMENT_VARIABLE)
    folder = (Path(home) if home else project_root() / ".microseg") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
