"""Fetching files over HTTP: resumed where they were interrupted, checked by size and digest."""

import errno
import hashlib
import logging
import re
import shutil
import ssl
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


@dataclass(frozen=True)
class PublishedFile:
    """A file known in advance: its name, size in bytes, digest (hexadecimal), and addresses, best first.

    Without a digest, which only a first download lacks, the size alone decides.
    """

    name: str
    size: int
    digest: str | None
    urls: tuple[str, ...]
    algorithm: Literal["md5", "sha256"] = "md5"


def misfit(path: Path, file: PublishedFile) -> str | None:
    """Say in which way the file at `path` is not `file`; None where size and digest fit."""
    size = path.stat().st_size
    if size != file.size:
        return f"has {size:,} bytes instead of {file.size:,}"
    if file.digest is None:
        return None
    with path.open("rb") as content:
        # MD5, where it is what the publisher gives, guards against accidents, not against attackers.
        digest = hashlib.file_digest(content, lambda: hashlib.new(file.algorithm, usedforsecurity=False))
    found = digest.hexdigest()
    return None if found == file.digest else f"has {file.algorithm} {found} instead of {file.digest}"


logger = logging.getLogger(__name__)

# Small enough that a killed process loses next to nothing, large enough to cost no time.
PIECE = 16 * 1024
# Answers that say "not now" (RFC 9110, RFC 6585); every other answer without the file says "not from me".
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server; times in seconds."""

    connect_timeout: float = 15.0
    # The longest silence: slow is fine, stalled is not.
    read_timeout: float = 60.0
    # Failures in a row, without a hundredth of the file gained, after which an address is given up.
    attempts: int = 5
    # The pause after the first failure, doubled after each further one.
    first_pause: float = 1.0
    # The longest pause, also where the server asks for a longer one.
    longest_pause: float = 120.0


PATIENCE = Patience()


class TransferError(Exception):
    """No address gave the file; `reasons` says why, one sentence an address."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class _RefusedError(Exception):
    """An address does not have the file, so that asking it again is useless."""


class _InterruptedError(Exception):
    """The transfer broke off and is worth continuing, after `pause` seconds where the server named a time."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


def bytes_missing(file: PublishedFile, folder: Path) -> int:
    """Return how many bytes of `file` still have to be fetched into `folder`."""
    if (folder / file.name).is_file():
        return 0
    return max(file.size - _size(_part(folder, file)), 0)


def require_free_space(folder: Path, needed: int) -> None:
    """Raise InputError where the disk of `folder` has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {needed / 1e9:.2f} GB of disk space are needed and {free / 1e9:.2f} GB are free; "
            "make room, then start again"
        )


def fetch(file: PublishedFile, folder: Path, patience: Patience = PATIENCE) -> Path:
    """Return the path of `file` in `folder`, fetched from the first of its addresses that has it.

    Processes that want the same file wait for the one that fetches it.

    Raises:
        TransferError: no address gave the file. What has arrived stays in the `.part` file.
        InputError: the disk is full.
    """
    complete, part = folder / file.name, _part(folder, file)
    with FileLock(folder / f"{file.name}.lock"):
        if complete.is_file():
            problem = misfit(complete, file)
            if problem is None:
                return complete
            logger.warning("%s %s: fetching it again", complete, problem)
            complete.unlink()
        try:
            _fetch_from_any(file, part, patience)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(
                f"{part}: the disk is full; make room and start again, it continues where it stopped"
            ) from error
        part.replace(complete)
    return complete


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
                logger.warning("%s from %s: %s", file.name, url, error)
                reasons.append(f"{url}: {error}")
            else:
                return
    raise TransferError(reasons)


def _fetch_from(url: str, file: PublishedFile, part: Path, patience: Patience, session: requests.Session) -> None:
    """Complete `part` from one address; _RefusedError where that address is of no use."""
    alien_beginning = _size(part) > 0
    gained, failures = _size(part), 0
    while True:
        try:
            if _size(part) < file.size:
                _request(url, file, part, patience, session)
            problem = misfit(part, file)
            if problem is None:
                return
            part.unlink()
            if not alien_beginning:
                raise _RefusedError(f"what it sends {problem}")
            logger.warning("%s %s: fetching it once more from its beginning", part, problem)
            alien_beginning, gained = False, 0
        except _InterruptedError as error:
            if _size(part) - gained >= file.size / 100:
                gained, failures = _size(part), 0
            failures += 1
            if failures == patience.attempts:
                raise _RefusedError(f"{error} ({failures} attempts)") from error
            pause = min(max(patience.first_pause * 2 ** (failures - 1), error.pause), patience.longest_pause)
            logger.info("%s from %s: %s; trying again in %.0f s", file.name, url, error, pause)
            sleep(pause)


def _request(url: str, file: PublishedFile, part: Path, patience: Patience, session: requests.Session) -> None:
    """Ask once for what is missing and add it to `part`."""
    done = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    timeout = (patience.connect_timeout, patience.read_timeout)
    try:
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            _append(response, file, part, _first_byte(response, file, done))
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError) as error:
        cause = root_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise _RefusedError(f"its identity cannot be verified: {cause}") from error
        raise _InterruptedError(f"the connection failed: {cause}") from error
    except (RequestException, ValueError) as error:  # a redirect to no address gives a bare ValueError
        raise _RefusedError(str(error)) from error


def _first_byte(response: requests.Response, file: PublishedFile, done: int) -> int:
    """Return where in the file the body of `response` starts: 0 or `done`. Raises where it is not the file."""
    answer = f"answered {response.status_code} {response.reason}"
    if response.status_code in PASSING_STATUS:
        raise _InterruptedError(answer, _requested_pause(response))
    if response.status_code not in (200, 206):
        raise _RefusedError(f"{answer} instead of the file")
    if "html" in response.headers.get("Content-Type", "").lower():
        raise _RefusedError("answered with an HTML page instead of the file")
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
    """Write the body to `part` from `start` on, piece by piece as it arrives."""
    with part.open("ab" if start else "wb") as output, byte_progress(file.name, file.size, start) as bar:
        for piece in response.iter_content(PIECE):
            if bar.n + len(piece) > file.size:
                raise _RefusedError(f"sends more than {file.size} bytes")
            output.write(piece)
            output.flush()
            bar.update(len(piece))
    if bar.n < file.size:
        raise _InterruptedError(f"the answer ended after {bar.n:,} of {file.size:,} bytes")


def root_cause(error: BaseException) -> BaseException:
    """Return the bottom of a chain of errors: ConnectionRefusedError rather than what wraps it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
