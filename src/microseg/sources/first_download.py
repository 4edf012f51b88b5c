"""Fetching a file whose publisher gives no digest: what comes first is recorded, and nothing else taken later."""

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
from microseg.sources.transfer import PASSING_STATUS, Patience, PublishedFile, TransferError, fetch

logger = logging.getLogger(__name__)

HEADER = ("address", "bytes", "sha256")


@dataclass(frozen=True)
class _Record:
    size: int
    sha256: str


def fetch_recorded(name: str, address: str, folder: Path, table: Path, patience: Patience) -> Path:
    """Return the path of a file in `folder`, fetched from `address` unless it is there.

    Size and digest have to be those in `table`; where it does not know the address yet, they are added to it.
    Processes that share the folder record one after the other.

    Raises:
        InputError: the table is not one, or the disk is full.
        TransferError: the file cannot be had, or is another one than the recorded.
    """
    with FileLock(folder / "recorded_digests.lock"):
        records = _read(table)
        if address in records:
            known = records[address]
            return fetch(PublishedFile(name, known.size, known.sha256, (address,), "sha256"), folder, patience)
        size, version = _announced(address, patience)
        # Until a digest is known only the server can tell whether the bytes of an earlier attempt still belong
        # to what it sends now.
        arrived = fetch(PublishedFile(f"{name}.{version}", size, None, (address,)), folder, patience)
        path = arrived.replace(folder / name)
        record = _Record(size, file_digest(path))
        rows = [(other, known.size, known.sha256) for other, known in records.items()]
        write_csv(table, HEADER, sorted([*rows, (address, record.size, record.sha256)]))
    logger.warning("%s: fetched for the first time; its digest now stands in %s: commit that", name, table)
    return path


def _read(table: Path) -> dict[str, _Record]:
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
                    "correct the line or restore the file with git"
                )
            records[row[0]] = _Record(int(row[1]), row[2])
    return records


def _announced(address: str, patience: Patience) -> tuple[int, str]:
    """Return the size that a server gives for a file, and a short name of the version that it offers.

    Asked by GET, since signed addresses, to which servers like to redirect, may refuse HEAD.
    """
    retry = Retry(
        total=patience.attempts - 1,
        backoff_factor=patience.first_pause,
        backoff_max=patience.longest_pause,
        status_forcelist=PASSING_STATUS,
        raise_on_status=False,
    )
    timeout = (patience.connect_timeout, patience.read_timeout)
    headers = {"Accept-Encoding": "identity"}
    try:
        with requests.Session() as session:
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.mount("http://", HTTPAdapter(max_retries=retry))
            with session.get(address, headers=headers, stream=True, timeout=timeout) as response:
                return _size_and_version(address, response)
    except (requests.RequestException, ValueError) as error:  # a redirect to no address gives a bare ValueError
        raise TransferError([f"{address}: {error}"]) from error


def _size_and_version(address: str, response: requests.Response) -> tuple[int, str]:
    answer = f"{address}: answered {response.status_code} {response.reason} instead of the file"
    if response.status_code != requests.codes.ok:
        raise TransferError([answer])
    if "html" in response.headers.get("Content-Type", "").lower():
        raise TransferError([f"{address}: answered with an HTML page instead of the file"])
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal() or not int(length):
        raise TransferError([f"{address}: does not say how large the file is"])
    version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return int(length), hashlib.sha256(f"{length} {version}".encode()).hexdigest()[:16]
