"""Answers that are not the file are never taken for it, and the error says what came instead."""

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from microseg.sources.transfer import Patience, PublishedFile, TransferError, fetch

from fuzzing import examples
from misbehaving_server import (
    Answer,
    MisbehavingServer,
    announces,
    drops_after,
    empty_202,
    html_page,
    ignores_range_and_drops_after,
    misbehaving_server,
    redirects_to,
    sends_raw,
    sends_without_length,
    stalls_after,
    status,
    wrong_bytes,
    wrong_range,
)

CONTENT = bytes(range(256)) * 500
HASTE = Patience(connect_timeout=5, read_timeout=5, attempts=3, first_pause=0.001, longest_pause=0.002)


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with misbehaving_server() as server:
        server.contents = {"/bad": CONTENT, "/good": CONTENT}
        yield server


def file_at(*urls: str, content: bytes = CONTENT) -> PublishedFile:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return PublishedFile("data.bin", len(content), digest, urls)


REFUSED = {
    "403": (status(403), "answered 403", 1),
    "404": (status(404), "answered 404", 1),
    "empty 202": (empty_202, "answered 202", 1),
    "204": (status(204), "answered 204", 1),
    "416": (status(416), "answered 416", 1),
    "HTML with 200": (html_page, "HTML page", 1),
    "announces less": (announces(len(CONTENT) - 1), "announces 127999 bytes instead of 128000", 1),
    "announces more": (announces(len(CONTENT) + 1), "announces 128001 bytes instead of 128000", 1),
    "sends more": (sends_without_length(CONTENT + b"x" * 20_000), "sends more than 128000 bytes", 1),
    "wrong bytes": (wrong_bytes, "instead of 0a9d", 1),
    "429 for ever": (status(429, Retry_After="0"), "answered 429", 3),
    "500 for ever": (status(500), "answered 500", 3),
    "short and ever the same": (ignores_range_and_drops_after(1000), "the connection failed", 3),
    "nothing at all": (drops_after(0), "the connection failed", 3),
    "unending redirects": (redirects_to("/bad"), "redirects", 31),
}


@pytest.mark.parametrize(("answer", "reason", "requests"), REFUSED.values(), ids=REFUSED.keys())
def test_is_refused_and_the_next_address_used(
    server: MisbehavingServer, tmp_path: Path, answer: Answer, reason: str, requests: int
) -> None:
    server.plans["/bad"] = [answer]
    with pytest.raises(TransferError) as caught:
        fetch(file_at(server.url("/bad")), tmp_path, HASTE)
    expected = reason.replace("0a9d", file_at().digest)
    assert expected in str(caught.value)
    assert len(caught.value.reasons) == 1
    assert [path for path, _ in server.requests] == ["/bad"] * requests
    assert not (tmp_path / "data.bin").exists()

    assert fetch(file_at(server.url("/bad"), server.url("/good")), tmp_path, HASTE).read_bytes() == CONTENT
    assert not (tmp_path / "data.bin.part").exists()


@pytest.mark.parametrize("answer", [status(403), empty_202, html_page, announces(5), wrong_range, status(503)])
def test_refused_answer_leaves_what_was_fetched_before(
    server: MisbehavingServer, tmp_path: Path, answer: Answer
) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:70_000])
    server.plans["/bad"] = [answer]
    with pytest.raises(TransferError):
        fetch(file_at(server.url("/bad")), tmp_path, HASTE)
    assert (tmp_path / "data.bin.part").read_bytes() == CONTENT[:70_000]


def test_206_for_other_bytes_than_asked_for_is_refused(server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:70_000])
    server.plans["/bad"] = [wrong_range]
    with pytest.raises(
        TransferError, match=r"bytes from 70000 of 128000, it answered with 'bytes 0-127999/128000'"
    ):
        fetch(file_at(server.url("/bad")), tmp_path, HASTE)


def test_stall_is_refused(server: MisbehavingServer, tmp_path: Path) -> None:
    server.plans["/bad"] = [stalls_after(40_000, seconds=2.0)]
    impatient = Patience(read_timeout=0.1, attempts=1)
    with pytest.raises(TransferError, match="timed out"):
        fetch(file_at(server.url("/bad")), tmp_path, impatient)
    assert fetch(file_at(server.url("/good")), tmp_path, HASTE).read_bytes() == CONTENT


def test_nobody_there(tmp_path: Path) -> None:
    with misbehaving_server() as server:
        url = server.url("/gone")
    with pytest.raises(TransferError, match=r"Connection refused \(3 attempts\)"):
        fetch(file_at(url), tmp_path, HASTE)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/data.bin", "http://", "nonsense", "http://[::1"])
def test_unusable_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(TransferError, match=r"adapters|Invalid URL|Failed to parse"):
        fetch(file_at(url), tmp_path, HASTE)


@pytest.mark.parametrize(
    "target",
    [
        b"\xb3/good",
        b"http://.x",
        b"http://[::1",
        b"http://127.0.0.1:99999/",
        b"file:///etc/passwd",
        b"//",
        b"\x01",
    ],
)
def test_redirect_to_no_usable_address(server: MisbehavingServer, tmp_path: Path, target: bytes) -> None:
    server.plans["/bad"] = [
        sends_raw(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n")
    ]
    with pytest.raises(TransferError):
        fetch(file_at(server.url("/bad")), tmp_path, HASTE)
    assert not (tmp_path / "data.bin.part").exists()


def test_every_address_is_named_with_its_reason(server: MisbehavingServer, tmp_path: Path) -> None:
    server.plans = {"/bad": [status(403)], "/good": [empty_202]}
    with pytest.raises(TransferError) as caught:
        fetch(file_at(server.url("/bad"), server.url("/good")), tmp_path, HASTE)
    first, second = caught.value.reasons
    assert first.startswith(f"{server.url('/bad')}: answered 403")
    assert second.startswith(f"{server.url('/good')}: answered 202")


def test_mutated_answer_gives_the_file_or_a_transfer_error(server: MisbehavingServer, tmp_path: Path) -> None:
    content = CONTENT[:300]
    file = file_at(server.url("/bad"), content=content)
    heads = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-299/300\r\nContent-Length: 300\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n12c\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n",
    )
    hasty = Patience(connect_timeout=1, read_timeout=1, attempts=1)
    generator = np.random.default_rng(13)
    tries = examples(200, 5000)
    for example in range(tries):
        answer = bytearray(heads[example % len(heads)] + content)
        for position in generator.integers(0, len(answer), generator.integers(1, 9)):
            answer[position] = generator.integers(256)
        server.plans["/bad"] = [sends_raw(bytes(answer))]
        with suppress(TransferError):
            assert fetch(file, tmp_path, hasty).read_bytes() == content
        (tmp_path / "data.bin").unlink(missing_ok=True)


def test_server_without_a_trusted_certificate_is_refused_at_once(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed_certificate(tmp_path))
    with misbehaving_server(context) as server:
        server.contents["/data"] = CONTENT
        url = server.url("/data").replace("http://", "https://")
        with pytest.raises(TransferError, match=r"cannot be verified.*certificate verify failed"):
            fetch(file_at(url), tmp_path, HASTE)
    assert server.served == {}


def self_signed_certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(encoding))
    return path
