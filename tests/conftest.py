"""What several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs beside the checkout, or where MICROSEG_SHARED_DATA points; skips without it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MICROSEG_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the real inputs are not at {folder}")
    return folder
