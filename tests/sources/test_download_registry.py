"""Files without a published digest: the first download is recorded, and any other file refused later."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from microseg.common.errors import InputError
from microseg.sources.download_registry import fetch_recorded
from microseg.sources.transfer import CHUNK, Patience, TransferError

from misbehaving_server import (
    Answer,
    Handler,
    MisbehavingServer,
    announces,
    drops_after,
    empty_202,
    html_page,
    misbehaving_server,
    redirects_to,
    sends_without_length,
    status,
    well_behaved,
    wrong_bytes,
)

CONTENT = np.random.default_rng(3).bytes(100_000)
NEWER = np.random.default_rng(4).bytes(100_000)
HASTE = Patience(connect_timeout=5, read_timeout=5, attempts=3, first_pause=0.001, longest_pause=0.002)
TABLE = "digests.csv"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MisbehavingServer]:
    (tmp_path / "downloads").mkdir()
    with misbehaving_server() as server:
        server.contents = {"/weights": CONTENT}
        yield server


def download(server: MisbehavingServer, folder: Path) -> Path:
    return fetch_recorded("w.pth", server.url("/weights"), folder / "downloads", folder / TABLE, HASTE)


def left_behind(folder: Path) -> list[str]:
    """Return the names of the downloads, without locks."""
    return sorted(path.name for path in (folder / "downloads").iterdir() if path.suffix != ".lock")


def in_version(tag: str, drop_after: int | None = None) -> Answer:
    """Serve like a well-behaved server that names the version of the file."""

    def answer(handler: Handler, content: bytes) -> None:
        start = handler.first_wanted() or 0
        headers = {"ETag": f'"{tag}"'}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.head(206 if start else 200, len(content) - start, **headers)
        handler.body(content[start:][:drop_after])

    return answer


def test_size_and_digest_of_the_first_download_are_recorded(server: MisbehavingServer, tmp_path: Path) -> None:
    assert download(server, tmp_path).read_bytes() == CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    table = f"address,bytes,sha256\n{server.url('/weights')},100000,{digest}\n"
    assert (tmp_path / TABLE).read_text() == table
    assert left_behind(tmp_path) == ["w.pth"]


def test_what_was_fetched_is_not_fetched_again(server: MisbehavingServer, tmp_path: Path) -> None:
    download(server, tmp_path)
    server.requests.clear()
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_a_colleague_who_has_the_table_gets_the_same_file(server: MisbehavingServer, tmp_path: Path) -> None:
    download(server, tmp_path).unlink()
    before = (tmp_path / TABLE).read_text()
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert (tmp_path / TABLE).read_text() == before


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (wrong_bytes, "what it sends has sha256 .* instead of"),
        (announces(7), "announces 7 bytes instead of 100000"),
    ],
)
def test_another_file_than_the_recorded_is_refused(
    server: MisbehavingServer, tmp_path: Path, answer: Answer, reason: str
) -> None:
    download(server, tmp_path).unlink()
    before = (tmp_path / TABLE).read_text()
    server.plans["/weights"] = [answer]
    with pytest.raises(TransferError, match=rf"{reason}.*{TABLE} records the file as it was first downloaded"):
        download(server, tmp_path)
    assert (tmp_path / TABLE).read_text() == before
    assert left_behind(tmp_path) == []


def test_without_its_record_the_current_file_is_accepted(server: MisbehavingServer, tmp_path: Path) -> None:
    download(server, tmp_path).unlink()
    (tmp_path / TABLE).unlink()
    server.contents["/weights"] = NEWER
    assert download(server, tmp_path).read_bytes() == NEWER


def test_other_lines_stay(server: MisbehavingServer, tmp_path: Path) -> None:
    other = f"https://z.example/other,5,{'a' * 64}"
    (tmp_path / TABLE).write_text(f"address,bytes,sha256\n{other}\n")
    download(server, tmp_path)
    lines = (tmp_path / TABLE).read_text().splitlines()
    assert len(lines) == 3
    assert lines[2] == other


def test_resumes_after_a_broken_connection(server: MisbehavingServer, tmp_path: Path) -> None:
    server.plans["/weights"] = [well_behaved, drops_after(CHUNK), well_behaved]
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/weights", f"bytes={CHUNK}-")


def test_a_later_process_resumes(server: MisbehavingServer, tmp_path: Path) -> None:
    server.plans["/weights"] = [in_version("one"), in_version("one", CHUNK), status(403)]
    with pytest.raises(TransferError, match="answered 403"):
        download(server, tmp_path)
    assert not (tmp_path / TABLE).exists()
    server.plans["/weights"] = [in_version("one")]
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/weights", f"bytes={CHUNK}-")


def test_a_later_process_starts_over_if_the_server_has_another_version(
    server: MisbehavingServer, tmp_path: Path
) -> None:
    server.plans["/weights"] = [in_version("one"), in_version("one", CHUNK), status(403)]
    with pytest.raises(TransferError):
        download(server, tmp_path)
    server.contents["/weights"] = NEWER
    server.plans["/weights"] = [in_version("two")]
    assert download(server, tmp_path).read_bytes() == NEWER
    assert (tmp_path / TABLE).read_text().endswith(f"{hashlib.sha256(NEWER).hexdigest()}\n")


@pytest.mark.parametrize(
    ("answer", "reason", "requests"),
    [
        (status(403), "answered 403", 1),
        (status(404), "answered 404", 1),
        (status(503), "answered 503", 3),
        (empty_202, "answered 202", 1),
        (html_page, "HTML page", 1),
        (sends_without_length(CONTENT), "does not announce the size of the file", 1),
        (redirects_to("http://[::1"), "Invalid IPv6 URL", 1),
    ],
)
def test_a_server_that_does_not_offer_the_file(
    server: MisbehavingServer, tmp_path: Path, answer: Answer, reason: str, requests: int
) -> None:
    server.plans["/weights"] = [answer]
    with pytest.raises(TransferError, match=reason):
        download(server, tmp_path)
    assert len(server.requests) == requests
    assert left_behind(tmp_path) == []
    assert not (tmp_path / TABLE).exists()


def test_a_server_that_stops_short_of_what_it_announced(server: MisbehavingServer, tmp_path: Path) -> None:
    server.plans["/weights"] = [well_behaved, status(200)]
    with pytest.raises(TransferError, match="announces 2 bytes instead of 100000"):
        download(server, tmp_path)
    assert not (tmp_path / TABLE).exists()


def test_nobody_there(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    with misbehaving_server() as server:
        pass
    with pytest.raises(TransferError, match=r"/weights: the connection failed: \[Errno \d+\] Connection refused"):
        download(server, tmp_path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("name,size\n", 1),
        ("address,bytes,sha256\n<<<<<<< HEAD\n", 2),
        (f"address,bytes,sha256\nhttps://a,5,{'a' * 64}\nhttps://b,many,{'a' * 64}\n", 3),
        ("address,bytes,sha256\nhttps://a,5,abc\n", 2),
    ],
)
def test_a_damaged_table_is_named_with_its_line(
    server: MisbehavingServer, tmp_path: Path, text: str, line: int
) -> None:
    (tmp_path / TABLE).write_text(text)
    with pytest.raises(InputError, match=rf"digests\.csv, line {line}: expected"):
        download(server, tmp_path)
    assert server.requests == []
    assert (tmp_path / TABLE).read_text() == text


def test_simultaneous_requests_download_the_file_once(server: MisbehavingServer, tmp_path: Path) -> None:
    threads = [threading.Thread(target=download, args=(server, tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 2  # its size, then the file
    assert len((tmp_path / TABLE).read_text().splitlines()) == 2
