"""The browser that the tests of pages drive."""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER_OPTIONS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-sync",
    ),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"),
)
"""What makes a browser show a page without a window and without a network, and say what goes wrong in it."""


def find_browser() -> str:
    """Return the path of a browser; without one, skip the test, or fail where MICROSEG_REQUIRE_BROWSER is set."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return found
    reason = f"no {', '.join(NAMES)} on the PATH; install one of them to test the pages"
    if os.environ.get("MICROSEG_REQUIRE_BROWSER"):
        pytest.fail(f"{reason} (MICROSEG_REQUIRE_BROWSER is set)")
    pytest.skip(reason)
