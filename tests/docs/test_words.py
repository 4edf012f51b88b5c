"""The project keeps to the words of its field."""

import subprocess

from pipeline_files import ROOT

FOREIGN = [word[::-1] for word in ("moor", "yerots", "esuoh")]  # backwards, so that this file has none of them
OF_OTHERS = ("LICENSE", ".dvc/plots", "dvc.lock")


def test_packages_and_modules_are_called_so() -> None:
    options = [option for word in FOREIGN for option in ("-e", word)]
    found = subprocess.run(
        ["git", "grep", "--untracked", "-niwI", *options, "--", ".", *(f":(exclude){path}" for path in OF_OTHERS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (1, ""), found.stdout + found.stderr
