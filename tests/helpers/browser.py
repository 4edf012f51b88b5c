"""The browser that the tests of pages drive."""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """Return the path of a browser; without one, skip the test, or fail where MICROSEG_REQUIRE_BROWSER is set."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return found
    reason = f"no {', '.join(NAMES)} on the PATH; install one of them to test the pages"
    if os.environ.get("MICROSEG_REQUIRE_BROWSER"):
        pytest.fail(f"{reason} (MICROSEG_REQUIRE_BROWSER is set)")
    pytest.skip(reason)
