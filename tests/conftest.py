"""What several test files share."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from filelock import FileLock

from browser import find_browser
from project_copy import commit, copy_project, run

# Two processes test at once: with as many threads as cores in each they would spin waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and so all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


LONG_FILES = ["test_pipeline.py", "test_distributed.py"]
"""Where two processes begin: one with the files of a finished pipeline, the other with what does not need it."""

LONG_FOLDERS = ["pipeline", "training", "experiments"]
"""What comes next, so that the last files of all are short ones."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, so that no process is left with one of them in the end."""
    ranks = {name: rank for rank, name in enumerate([*LONG_FILES, *LONG_FOLDERS])}
    items.sort(key=lambda item: min(ranks.get(part, len(ranks)) for part in item.path.parts))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs beside the checkout, or where MICROSEG_SHARED_DATA points; skips without it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MICROSEG_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the real inputs are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a browser; skips without one, or fails where MICROSEG_REQUIRE_BROWSER is set."""
    return find_browser()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small copy of this project whose pipeline has run once and is committed; not to be changed."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent  # which all processes of this test run share
    project, complete = folder / "finished", folder / "finished.complete"
    with FileLock(folder / "finished.lock"):
        if not complete.exists():
            copy_project(project)
            run("dvc", "repro", cwd=project)
            commit(project, "results")
            complete.touch()
    return project


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
