"""The source "published": the Aachen-Heerlen annotated steel microstructure dataset, downloaded from figshare.

Iren, D., Ackermann, M., Gorfer, J. et al.: Aachen-Heerlen annotated steel microstructure dataset. Scientific
Data 8:140 (2021), doi 10.1038/s41597-021-00926-7. Published under CC0.
"""

import csv
import dataclasses
import logging
import shutil
from pathlib import Path
from typing import NamedTuple

from microseg.common.errors import InputError
from microseg.common.files import project_root, shared_folder
from microseg.micrographs.line_map import write_line_map
from microseg.sources.archive import unpack_micrographs
from microseg.sources.transfer import (
    PATIENCE,
    Patience,
    PublishedFile,
    TransferError,
    bytes_missing,
    fetch,
    mismatch,
    require_free_space,
)

log = logging.getLogger(__name__)


class PublishedDataset(NamedTuple):
    """The three files of a published dataset: two tables and the zip archive of its micrographs."""

    polygons: PublishedFile
    metadata: PublishedFile
    images: PublishedFile


def _on_figshare(number: int, name: str, size: int, md5: str) -> PublishedFile:
    # The first address is meant for programs; the second may answer them with a firewall challenge.
    urls = (
        f"https://api.figshare.com/v2/file/download/{number}",
        f"https://ndownloader.figshare.com/files/{number}",
    )
    return PublishedFile(name, size, md5, urls)


AACHEN_HEERLEN = PublishedDataset(
    polygons=_on_figshare(
        25214918,
        "nature_scidata_heerlen_aachen_steel_annotations_polygon.csv",
        3_744_453,
        "e56d19f16c82ae23faeeb77577579e1e",
    ),
    metadata=_on_figshare(
        25214927, "nature_scidata_steel_metadata.csv", 136_915, "f16113f032e6d984faac4836eb0cb0e1"
    ),
    images=_on_figshare(26094926, "PNG.zip", 1_223_165_391, "09306cad9a754ae5a963d3f5c67f8f30"),
)


def write_published(
    folder: Path,
    mirrors: list[str],
    manual_dir: str | None,
    dataset: PublishedDataset = AACHEN_HEERLEN,
    patience: Patience = PATIENCE,
) -> None:
    """Fill the existing, empty `folder` with images/ (8-bit grey PNG), annotations.csv and metadata.csv.

    Only the micrographs that the table of polygons names are unpacked. Downloads stay in the project's shared
    folder "downloads": they outlive the outputs of the stage, serve all experiments, and resume after a crash.
    `mirrors` and `manual_dir` are as in params.yaml.

    Raises:
        InputError: a parameter is unusable, a file cannot be downloaded (the message says how to do it by hand),
            the disk is too small, or the archive is damaged or hostile.
    """
    by_hand = _manual_folder(manual_dir)
    files = [_with_mirrors(file, mirrors) for file in dataset]
    polygons, metadata, images = _obtain(files, by_hand, folder, patience)
    shutil.copyfile(polygons, folder / "annotations.csv")
    shutil.copyfile(metadata, folder / "metadata.csv")
    published = ("annotations.csv", None, dataset.polygons.name), ("metadata.csv", None, dataset.metadata.name)
    write_line_map(folder, published)
    (folder / "images").mkdir()
    unpack_micrographs(images, _named_micrographs(polygons), folder / "images")


def _manual_folder(manual_dir: str | None) -> Path | None:
    if manual_dir is None:
        return None
    # Temporary experiments run in a copy of the project without the files placed by hand.
    folder = project_root() / Path(manual_dir).expanduser()
    if not folder.is_dir():
        raise InputError(f"params.yaml: download.manual_dir: {folder}: no such folder; make it or set null")
    return folder


def _with_mirrors(file: PublishedFile, mirrors: list[str]) -> PublishedFile:
    for mirror in mirrors:
        if not mirror.startswith(("https://", "http://")):
            raise InputError(
                f"params.yaml: download.mirrors: {mirror!r} is not a base address such as https://host/folder"
            )
    return dataclasses.replace(
        file, urls=(*file.urls, *(f"{mirror.rstrip('/')}/{file.name}" for mirror in mirrors))
    )


def _obtain(files: list[PublishedFile], by_hand: Path | None, destination: Path, patience: Patience) -> list[Path]:
    """Return the path of each file; one InputError names all that cannot be downloaded."""
    downloads = shared_folder("downloads")
    placed = [_placed_by_hand(file, by_hand) for file in files]
    to_fetch = [file for file, path in zip(files, placed, strict=True) if path is None]
    _check_disk(downloads, destination, to_fetch, unpacked=max(file.size for file in files))
    # One round by hand has to suffice: a file that fails does not stop the others.
    paths, problems = [], []
    for file, path in zip(files, placed, strict=True):
        try:
            paths.append(path or fetch(file, downloads, patience))
        except TransferError as error:
            problems.append(_instructions_by_hand(file, error, by_hand))
    if problems:
        raise InputError("\n       ".join(problems))
    return paths


def _placed_by_hand(file: PublishedFile, folder: Path | None) -> Path | None:
    """Return the path of `file` in the user's folder, whatever name a browser gave it; None if it is not there."""
    if folder is None:
        return None
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        problem = mismatch(path, file)
        if problem is None:
            return path
        if path.name == file.name:
            log.warning("%s %s: not used; download it again or remove it", path, problem)
    return None


def _check_disk(downloads: Path, destination: Path, to_fetch: list[PublishedFile], unpacked: int) -> None:
    # Micrographs are stored uncompressed in the archive, so it is as large as the folder it is unpacked to.
    missing = sum(bytes_missing(file, downloads) for file in to_fetch)
    same_disk = downloads.stat().st_dev == destination.stat().st_dev
    require_free_space(downloads, missing + unpacked if same_disk else missing)
    require_free_space(destination, unpacked)


def _instructions_by_hand(file: PublishedFile, error: TransferError, by_hand: Path | None) -> str:
    destination = (
        f"put it into {by_hand} (download.manual_dir)"
        if by_hand
        else "put it into a folder and name that folder in params.yaml as download.manual_dir"
    )
    return (
        f"{file.name} could not be downloaded ({error}). Download it by hand, for example with a browser, from "
        f"{' or '.join(file.urls)}, check that it has {file.size:,} bytes and {file.algorithm} {file.digest}, "
        f"{destination}, and start again."
    )


def _named_micrographs(polygons: Path) -> list[str]:
    with polygons.open(newline="", encoding="utf-8-sig") as table:
        return sorted({row["image_url"] for row in csv.DictReader(table, delimiter=";")})
