"""Downloading files without a published digest: the first one is recorded, any other file is refused later."""

import csv
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from microseg.common.errors import InputError
from microseg.common.files import file_digest, write_csv
from microseg.sources.transfer import (
    TEMPORARY_STATUS,
    Patience,
    PublishedFile,
    TransferError,
    fetch,
    require_free_space,
    root_cause,
)

log = logging.getLogger(__name__)

HEADER = ("address", "bytes", "sha256")


@dataclass(frozen=True)
class Record:
    """A file as it was first downloaded: its size in bytes, and its digest (hexadecimal)."""

    size: int
    sha256: str


def fetch_recorded(name: str, address: str, folder: Path, table: Path, patience: Patience) -> Path:
    """Return the path of the file `name` in `folder`, downloaded from `address` unless it is there.

    It has to be the file that `table` records; a new address is added to the table. Processes that share the
    folder take turns.

    Raises:
        InputError: the table is damaged, or the disk is full.
        TransferError: the file cannot be downloaded, or differs from the recorded one.
    """
    with FileLock(folder / "recorded_digests.lock"):
        records = read_records(table)
        if address in records:
            return _fetch_known(name, address, records[address], folder, table, patience)
        size, version = _announced(address, patience)
        require_free_space(folder, size)
        # Without a digest, only the server can say whether a partial file belongs to what it offers now: the
        # version is part of the name of both.
        arrived = fetch(PublishedFile(f"{name}.{version}", size, None, (address,)), folder, patience)
        path = arrived.replace(folder / name)
        _write_records(table, records | {address: Record(size, file_digest(path))})
    log.warning("%s was downloaded for the first time; commit %s, which now has its digest", name, table)
    return path


def _fetch_known(name: str, address: str, record: Record, folder: Path, table: Path, patience: Patience) -> Path:
    try:
        return fetch(PublishedFile(name, record.size, record.sha256, (address,), "sha256"), folder, patience)
    except TransferError as error:
        refusal = f"{table} records the file as it was first downloaded, any other is refused"
        raise TransferError([*error.reasons, refusal]) from error


def read_records(table: Path) -> dict[str, Record]:
    """Return the records of a table of digests, by address; none if there is no such table yet.

    Raises:
        InputError: the header or a line is damaged.
    """
    if not table.is_file():
        return {}
    records = {}
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != HEADER:
            raise InputError(f"{table}, line 1: expected {','.join(HEADER)}; restore the file with git")
        for row in rows:
            if len(row) != len(HEADER) or not row[1].isdecimal() or not re.fullmatch(r"[0-9a-f]{64}", row[2]):
                raise InputError(
                    f"{table}, line {rows.line_num}: expected an address, a number of bytes and a SHA-256 digest; "
                    "correct the line, or restore the file with git"
                )
            records[row[0]] = Record(int(row[1]), row[2])
    return records


def _write_records(table: Path, records: dict[str, Record]) -> None:
    rows = [(address, record.size, record.sha256) for address, record in sorted(records.items())]
    write_csv(table, HEADER, rows)


def _announced(address: str, patience: Patience) -> tuple[int, str]:
    """Return the size that a server announces for a file, and a short name of the version that it offers.

    The request is a GET: the signed addresses to which some servers redirect refuse HEAD.
    """
    retry = Retry(
        total=patience.attempts - 1,
        backoff_factor=patience.first_pause,
        backoff_max=patience.longest_pause,
        status_forcelist=TEMPORARY_STATUS,
        raise_on_status=False,
        respect_retry_after_header=False,  # it has no upper limit
    )
    timeout = (patience.connect_timeout, patience.read_timeout)
    headers = {"Accept-Encoding": "identity"}
    try:
        with requests.Session() as session:
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.mount("http://", HTTPAdapter(max_retries=retry))
            with session.get(address, headers=headers, stream=True, timeout=timeout) as response:
                return _size_and_version(response)
    except requests.ConnectionError as error:
        raise TransferError([f"{address}: the connection failed: {root_cause(error)}"]) from error
    except (requests.RequestException, ValueError) as error:  # a redirect to no address raises a bare ValueError
        raise TransferError([f"{address}: {error}"]) from error


def _size_and_version(response: requests.Response) -> tuple[int, str]:
    """Read the headers of an answer; ValueError if they are not those of the file."""
    if response.status_code != requests.codes.ok:
        raise ValueError(f"answered {response.status_code} {response.reason} instead of the file")
    if "html" in response.headers.get("Content-Type", "").lower():
        raise ValueError("answered with an HTML page instead of the file")
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal() or not int(length):
        raise ValueError("does not announce the size of the file")
    version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return int(length), hashlib.sha256(f"{length} {version}".encode()).hexdigest()[:16]
