"""A file known before it is fetched, and whether another is it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


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
