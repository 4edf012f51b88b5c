"""Downloading files without a published digest: the first one is recorded, any other file is refused later."""

import csv
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from microseg.common.errors import InputError
from microseg.common.files import file_digest, write_csv
from microseg.sources.transfer import Patience, PublishedFile, TransferError, announced, fetch, require_free_space

log = logging.getLogger(__name__)

HEADER = ("address", "bytes", "sha256")


@dataclass(frozen=True)
class Record:
    """A file as it was first downloaded: its size in bytes, and its digest (hexadecimal)."""

    size: int
    sha256: str


def fetch_recorded(name: str, address: str, folder: Path, table: Path, patience: Patience) -> Path:
    """Return the path of the file `name` in `folder`, downloaded from `address` unless it is there.

    It has to be the file that `table` records; a new address is added to the table.

    Raises:
        InputError: the table is damaged, or the disk is full.
        TransferError: the file cannot be downloaded, or differs from the recorded one.
    """
    with FileLock(folder / "recorded_digests.lock"):
        records = read_records(table)
        if address in records:
            return _fetch_known(name, address, records[address], folder, table, patience)
        size, version = announced(address, patience)
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
