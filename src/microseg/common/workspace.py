"""Where things are kept that outlive a run: downloads and checkpoints, shared by all experiments of a project."""

import os
from pathlib import Path

from microseg.common.errors import InputError

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


def limit_bytes(variable: str, default_gigabytes: float) -> float:
    """Return how many bytes a shared folder may take, by an environment variable in gigabytes or a default.

    Raises:
        InputError: the variable is set to something that is no number.
    """
    text = os.environ.get(variable, str(default_gigabytes))
    try:
        return float(text) * 1e9
    except ValueError:
        raise InputError(f"{variable} is {text!r}; set it to a number of gigabytes") from None
