"""An interrupted download resumes where it stopped, in the same process or in a later one."""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from microseg.sources import transfer
from microseg.sources.transfer import Patience, PublishedFile, TransferError, fetch

from misbehaving_server import (
    MisbehavingServer,
    calls_at,
    drops_after,
    ignores_range,
    misbehaving_server,
    redirects_to,
    sends_without_length,
    status,
    trickles,
    well_behaved,
    wrong_bytes,
)

CONTENT = np.random.default_rng(1).bytes(600_000)
HASTE = Patience(connect_timeout=5, read_timeout=5, attempts=3, first_pause=0.001, longest_pause=0.002)


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with misbehaving_server() as server:
        server.contents = {"/data": CONTENT}
        yield server


def file_at(*urls: str, content: bytes = CONTENT) -> PublishedFile:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return PublishedFile("data.bin", len(content), digest, urls)


def test_only_the_missing_bytes_are_asked_for(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:456_789])
    path = fetch(file_at(server.url("/data")), tmp_path, HASTE)
    assert path == tmp_path / "data.bin"
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/data", "bytes=456789-")]
    assert server.served == {"/data": len(CONTENT) - 456_789}
    assert not (tmp_path / "data.bin.part").exists()


def test_complete_file_is_not_fetched_again(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(CONTENT)
    fetch(file_at(server.url("/data")), tmp_path, HASTE)
    assert server.requests == []


def test_complete_part_is_only_checked(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    assert fetch(file_at(server.url("/data")), tmp_path, HASTE).read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("damaged", [bytes(len(CONTENT)), CONTENT[:-1], b""])
def test_damaged_file_is_replaced(server: MisbehavingServer, tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "data.bin").write_bytes(damaged)
    assert fetch(file_at(server.url("/data")), tmp_path, HASTE).read_bytes() == CONTENT


@pytest.mark.parametrize("drop", [100, 50_000, 599_999])
def test_dropped_connections(server: MisbehavingServer, tmp_path: Path, drop: int) -> None:
    """Two drops of any length are survived; each byte that was written is asked for once."""
    server.plans["/data"] = [drops_after(drop), drops_after(drop), well_behaved]
    assert fetch(file_at(server.url("/data")), tmp_path, HASTE).read_bytes() == CONTENT
    starts = [
        int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0 for _, wanted in server.requests
    ]
    assert starts == sorted(starts)
    assert server.served["/data"] <= len(CONTENT) + 2 * transfer.CHUNK


def test_connection_that_always_drops_but_gains(server: MisbehavingServer, tmp_path: Path) -> None:
    """Far more drops than attempts: what counts is whether the file grows."""
    server.plans["/data"] = [drops_after(2 * transfer.CHUNK)]
    assert fetch(file_at(server.url("/data")), tmp_path, HASTE).read_bytes() == CONTENT
    assert len(server.requests) > 3 * HASTE.attempts


def test_server_that_ignores_ranges_starts_the_file_over(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:100_000])
    server.plans["/data"] = [ignores_range]
    assert fetch(file_at(server.url("/data")), tmp_path, HASTE).read_bytes() == CONTENT
    assert server.requests == [("/data", "bytes=100000-")]
    assert server.served == {"/data": len(CONTENT)}


@pytest.mark.parametrize("length", [1, 300_000, len(CONTENT), len(CONTENT) + 5])
def test_wrong_beginning_is_discarded_and_fetched_once_more(
    server: MisbehavingServer, tmp_path: Path, length: int
) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"\0" * length)
    assert fetch(file_at(server.url("/data")), tmp_path, HASTE).read_bytes() == CONTENT
    assert server.requests[-1] == ("/data", None)
    assert server.served["/data"] == max(len(CONTENT) - length, 0) + len(CONTENT)


def test_wrong_beginning_and_wrong_rest_end_after_the_second_try(
    server: MisbehavingServer, tmp_path: Path
) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"\0" * 1000)
    server.plans["/data"] = [wrong_bytes]
    with pytest.raises(TransferError, match="what it sends has md5"):
        fetch(file_at(server.url("/data")), tmp_path, HASTE)
    assert server.requests == [("/data", "bytes=1000-"), ("/data", None)]


def test_short_answer_without_a_length_is_continued(server: MisbehavingServer, tmp_path: Path) -> None:
    server.plans["/data"] = [sends_without_length(CONTENT[:1234]), well_behaved]
    assert fetch(file_at(server.url("/data")), tmp_path, HASTE).read_bytes() == CONTENT
    assert server.requests == [("/data", None), ("/data", "bytes=1234-")]


def test_slow_trickle_is_survived(server: MisbehavingServer, tmp_path: Path) -> None:
    """The whole transfer takes many times the longest allowed silence."""
    content = CONTENT[:400]
    server.contents["/data"] = content
    server.plans["/data"] = [trickles(piece=10, pause=0.02)]
    patience = Patience(read_timeout=0.4, attempts=1)
    assert fetch(file_at(server.url("/data"), content=content), tmp_path, patience).read_bytes() == content
    assert len(server.requests) == 1


def test_redirect_is_followed_with_the_range(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    server.plans["/old"] = [redirects_to(server.url("/data"))]
    assert fetch(file_at(server.url("/old")), tmp_path, HASTE).read_bytes() == CONTENT
    assert server.requests == [("/old", "bytes=1000-"), ("/data", "bytes=1000-")]


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [
        ("3", 3.0),
        ("86400", 20.0),
        ("0", 1.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
        ("soon", 1.0),
        ("9" * 5000, 1.0),
    ],
)
def test_retry_after_is_honoured_within_bounds(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry_after: str, pause: float
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer, "sleep", pauses.append)
    server.plans["/data"] = [status(429, Retry_After=retry_after), well_behaved]
    patience = Patience(first_pause=1.0, longest_pause=20.0)
    assert fetch(file_at(server.url("/data")), tmp_path, patience).read_bytes() == CONTENT
    assert pauses == [pause]


def test_pauses_double_up_to_the_longest(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer, "sleep", pauses.append)
    server.plans["/data"] = [status(503)]
    with pytest.raises(TransferError, match=r"503 .*\(7 attempts\)"):
        fetch(file_at(server.url("/data")), tmp_path, Patience(attempts=7, first_pause=1.0, longest_pause=10.0))
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_progress_bar_shows_speed_and_remaining_time(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("microseg.common.progress.LOG_INTERVAL", 0.0)
    server.plans["/data"] = [trickles(piece=100_000, pause=0.02)]
    fetch(file_at(server.url("/data")), tmp_path, HASTE)
    bar = capsys.readouterr().err
    assert "data.bin: 100%" in bar
    assert "600k/600k" in bar
    assert "B/s" in bar
    assert "<00:00" in bar


FETCH = """
import sys
from pathlib import Path
from microseg.sources.transfer import PublishedFile
from microseg.sources.transfer import fetch
name, size, md5, url, folder = sys.argv[1:]
fetch(PublishedFile(name, int(size), md5, (url,)), Path(folder))
"""


def start_fetching(file: PublishedFile, folder: Path) -> subprocess.Popen[bytes]:
    arguments = [file.name, str(file.size), file.digest, file.urls[0], str(folder)]
    return subprocess.Popen([sys.executable, "-c", FETCH, *arguments], stderr=subprocess.DEVNULL)


def test_killed_ten_times_at_random_bytes(server: MisbehavingServer, tmp_path: Path) -> None:
    content = np.random.default_rng(2).bytes(8_000_000)
    server.contents["/data"] = content
    file = file_at(server.url("/data"), content=content)
    for offset in np.sort(np.random.default_rng(3).integers(len(content), size=10)).tolist():
        killed: list[subprocess.Popen[bytes]] = []
        server.plans["/data"] = [calls_at(offset, lambda k=killed: k[0].kill(), pause=0.001)]
        killed.append(start_fetching(file, tmp_path))
        assert killed[0].wait(timeout=60) == -signal.SIGKILL
        assert not (tmp_path / "data.bin").exists()
    server.plans = {}
    assert start_fetching(file, tmp_path).wait(timeout=60) == 0
    assert (tmp_path / "data.bin").read_bytes() == content
    assert not (tmp_path / "data.bin.part").exists()
    assert len(server.requests) == 11
    ratio = server.served["/data"] / len(content)
    print(f"served {server.served['/data']:,} bytes for a file of {len(content):,}: {ratio:.3f}")
    assert ratio < 1.25


def test_processes_that_want_the_same_file_fetch_it_once(server: MisbehavingServer, tmp_path: Path) -> None:
    server.plans["/data"] = [trickles(piece=50_000, pause=0.05)]
    processes = [start_fetching(file_at(server.url("/data")), tmp_path) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.served == {"/data": len(CONTENT)}
