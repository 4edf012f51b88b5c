"""Downloading files over HTTP: resumed after an interruption, checked by size and digest."""

import errno
import hashlib
import logging
import re
import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Literal

import requests
from filelock import FileLock
from requests.exceptions import ChunkedEncodingError, RequestException
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from microseg.common.errors import InputError
from microseg.common.progress import byte_progress

log = logging.getLogger(__name__)

# Small enough that a killed process loses next to nothing, large enough to cost no time.
CHUNK = 16 * 1024
# Statuses that mean "not now" (RFC 9110, RFC 6585); every other answer without the file means "not from me".
TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class PublishedFile:
    """A file known in advance: its name, size in bytes, digest (hexadecimal), and addresses, best first.

    Without a digest, which only a file downloaded for the first time may lack, the size alone decides.
    """

    name: str
    size: int
    digest: str | None
    urls: tuple[str, ...]
    algorithm: Literal["md5", "sha256"] = "md5"


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server; times in seconds."""

    connect_timeout: float = 15.0
    # The longest silence: a slow server is fine, a stalled one is not.
    read_timeout: float = 60.0
    # An address is given up after this many failures in a row without one percent of the file gained.
    attempts: int = 5
    # The pause after the first failure; it doubles with each further one.
    first_pause: float = 1.0
    # The longest pause, even if the server asks for a longer one.
    longest_pause: float = 120.0

    def pause(self, failures: int, requested: float) -> float:
        """Return how long to wait after so many failures, if the server has requested a pause."""
        return min(max(self.first_pause * 2.0 ** (failures - 1), requested), self.longest_pause)


PATIENCE = Patience()


class TransferError(Exception):
    """No address provided the file; `reasons` has one sentence per address."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class _RefusedError(Exception):
    """An address does not have the file; asking it again is useless."""


class _InterruptedError(Exception):
    """The transfer broke off and is worth resuming, after `pause` seconds if the server named a time."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


def fetch(file: PublishedFile, folder: Path, patience: Patience = PATIENCE) -> Path:
    """Return the path of `file` in `folder`, downloaded from the first of its addresses that has it.

    Processes that want the same file wait for the one that downloads it.

    Raises:
        TransferError: no address provided the file. What has arrived stays in the `.part` file.
        InputError: the disk is full.
    """
    complete, part = folder / file.name, _part(folder, file)
    with FileLock(folder / f"{file.name}.lock"):
        if complete.is_file():
            problem = mismatch(complete, file)
            if problem is None:
                return complete
            log.warning("%s %s: downloading it again", complete, problem)
            complete.unlink()
        try:
            _fetch_from_any(file, part, patience)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(
                f"{part}: the disk is full; free some space and start again, the download resumes where it stopped"
            ) from error
        part.replace(complete)
    return complete


def mismatch(path: Path, file: PublishedFile) -> str | None:
    """Return how the file at `path` differs from `file`; None if size and digest match."""
    size = path.stat().st_size
    if size != file.size:
        return f"has {size:,} bytes instead of {file.size:,}"
    if file.digest is None:
        return None
    with path.open("rb") as content:
        # MD5, if that is what the publisher gives, guards against accidents, not against attackers.
        digest = hashlib.file_digest(content, lambda: hashlib.new(file.algorithm, usedforsecurity=False))
    found = digest.hexdigest()
    return None if found == file.digest else f"has {file.algorithm} {found} instead of {file.digest}"


def bytes_missing(file: PublishedFile, folder: Path) -> int:
    """Return how many bytes of `file` are still to be downloaded into `folder`."""
    if (folder / file.name).is_file():
        return 0
    return max(file.size - _size(_part(folder, file)), 0)


def require_free_space(folder: Path, needed: int) -> None:
    """Raise InputError if the disk of `folder` has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {needed / 1e9:.2f} GB of disk space are needed and {free / 1e9:.2f} GB are free; "
            "free some space, then start again"
        )


def announced(url: str, patience: Patience) -> tuple[int, str]:
    """Return the size that a server announces for a file, and a short name of the version that it offers.

    The request is a GET: the signed addresses to which some servers redirect refuse HEAD.

    Raises:
        TransferError: the address does not have the file, or does not say its size.
    """
    failures = 0
    with requests.Session() as session:
        while True:
            try:
                with _answer(session, url, patience) as response:
                    headers = response.headers
            except _RefusedError as error:
                raise TransferError([f"{url}: {error}"]) from error
            except _InterruptedError as error:
                failures += 1
                if failures == patience.attempts:
                    raise TransferError([f"{url}: {error}"]) from error
                sleep(patience.pause(failures, error.pause))
                continue
            length = headers.get("Content-Length", "")
            if not length.isdecimal() or not int(length):
                raise TransferError([f"{url}: does not announce the size of the file"])
            version = headers.get("ETag") or headers.get("Last-Modified") or ""
            return int(length), hashlib.sha256(f"{length} {version}".encode()).hexdigest()[:16]


def _part(folder: Path, file: PublishedFile) -> Path:
    return folder / f"{file.name}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _fetch_from_any(file: PublishedFile, part: Path, patience: Patience) -> None:
    reasons = []
    with requests.Session() as session:
        for url in file.urls:
            try:
                _fetch_from(url, file, part, patience, session)
            except _RefusedError as error:
                log.warning("%s from %s: %s", file.name, url, error)
                reasons.append(f"{url}: {error}")
            else:
                return
    raise TransferError(reasons)


def _fetch_from(url: str, file: PublishedFile, part: Path, patience: Patience, session: requests.Session) -> None:
    """Complete `part` from one address; _RefusedError if that address is of no use."""
    resumed = _size(part) > 0  # its beginning may come from another address, or be damaged
    gained, failures = _size(part), 0
    while True:
        try:
            if _size(part) < file.size:
                _request(url, file, part, patience, session)
            problem = mismatch(part, file)
            if problem is None:
                return
            part.unlink()
            if not resumed:
                raise _RefusedError(f"what it sends {problem}")
            log.warning("%s %s: downloading it once more from the beginning", part, problem)
            resumed, gained = False, 0
        except _InterruptedError as error:
            if _size(part) - gained >= file.size / 100:
                gained, failures = _size(part), 0
            failures += 1
            if failures == patience.attempts:
                raise _RefusedError(f"{error} ({failures} attempts)") from error
            pause = patience.pause(failures, error.pause)
            log.info("%s from %s: %s; trying again in %.0f s", file.name, url, error, pause)
            sleep(pause)


def _request(url: str, file: PublishedFile, part: Path, patience: Patience, session: requests.Session) -> None:
    """Ask once for the missing bytes and append them to `part`."""
    done = _size(part)
    with _answer(session, url, patience, done) as response:
        _append(response, file, part, _first_byte(response, file, done))


@contextmanager
def _answer(
    session: requests.Session, url: str, patience: Patience, first_byte: int = 0
) -> Iterator[requests.Response]:
    """Ask an address once for a file, from a byte on, and yield the answer with its body still to be read.

    Raises:
        _InterruptedError: the server cannot answer now, or the connection fails.
        _RefusedError: the answer is not the file.
    """
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={first_byte}-"} if first_byte else {})
    timeout = (patience.connect_timeout, patience.read_timeout)
    try:
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            answer = f"answered {response.status_code} {response.reason}"
            if response.status_code in TEMPORARY_STATUS:
                raise _InterruptedError(answer, _requested_pause(response))
            if response.status_code not in (200, 206):
                raise _RefusedError(f"{answer} instead of the file")
            if "html" in response.headers.get("Content-Type", "").lower():
                raise _RefusedError("answered with an HTML page instead of the file")
            yield response
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError) as error:
        cause = _root_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise _RefusedError(f"its identity cannot be verified: {cause}") from error
        raise _InterruptedError(f"the connection failed: {cause}") from error
    except (RequestException, ValueError) as error:  # a redirect to no address raises a bare ValueError
        raise _RefusedError(str(error)) from error


def _first_byte(response: requests.Response, file: PublishedFile, done: int) -> int:
    """Return where in the file the body of `response` starts: 0 or `done`. Raises if it is not the file."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", str(file.size))
        if length != str(file.size):
            raise _RefusedError(f"announces {length} bytes instead of {file.size}")
        return 0
    content_range = response.headers.get("Content-Range", "")
    if not re.fullmatch(rf"bytes {done}-\d+/({file.size}|\*)", content_range):
        raise _RefusedError(f"asked for bytes from {done} of {file.size}, it answered with {content_range!r}")
    return done


def _requested_pause(response: requests.Response) -> float:
    try:
        return Retry().get_retry_after(response.raw) or 0.0
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _append(response: requests.Response, file: PublishedFile, part: Path, start: int) -> None:
    """Write the body to `part` from `start` on, chunk by chunk as it arrives."""
    with part.open("ab" if start else "wb") as output, byte_progress(file.name, file.size, start) as bar:
        for chunk in response.iter_content(CHUNK):
            if bar.n + len(chunk) > file.size:
                raise _RefusedError(f"sends more than {file.size} bytes")
            output.write(chunk)
            output.flush()
            bar.update(len(chunk))
    if bar.n < file.size:
        raise _InterruptedError(f"the answer ended after {bar.n:,} of {file.size:,} bytes")


def _root_cause(error: BaseException) -> BaseException:
    """Return the innermost of a chain of errors: ConnectionRefusedError rather than what wraps it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
