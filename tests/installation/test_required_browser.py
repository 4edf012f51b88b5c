"""Without a browser the tests of pages are skipped; where one is required, as in .ci/run, they fail."""

import sys
from pathlib import Path

import pytest

from browser import find_browser


def test_without_a_browser_a_test_is_skipped_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MICROSEG_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no chromium, .* on the PATH"):
        find_browser()


def test_where_a_browser_is_required_a_test_fails_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MICROSEG_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="MICROSEG_REQUIRE_BROWSER is set"):
        find_browser()


@pytest.mark.skipif(sys.platform == "win32", reason="programs there are told by the ends of their names")
def test_the_browser_on_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "google-chrome").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_browser() == str(tmp_path / "google-chrome")
