"""Where things are kept that outlive a run: downloads and checkpoints, shared by all experiments of a project."""

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "MICROSEG_HOME"


def project_root(start: Path | None = None) -> Path:
    """Return the outermost folder above `start` (default: the working directory) that is a DVC project.

    DVC runs queued and temporary experiments in copies below `.dvc/tmp/exps` of the project; the outermost
    project is the one that all those copies share. Outside any project it is `start` itself.
    """
    here = (start or Path.cwd()).resolve()
    projects = [folder for folder in (here, *here.parents) if (folder / ".dvc" / "config").is_file()]
    return projects[-1] if projects else here


def shared_folder(name: str) -> Path:
    """Return (and make) the folder `name` for what outlives a run, such as "downloads" or "checkpoints".

    It lies in `.microseg/` of the project, which git ignores, or where the environment variable MICROSEG_HOME
    points, so that several clones or machines can use one.
    """
    home = os.environ.get(ENVIRONMENT_VARIABLE)
    folder = (Path(home) if home else project_root() / ".microseg") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
