"""The published source from end to end, with stand-ins for the published files."""

import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.images import read_micrograph
from microseg.micrographs.line_map import read_line_map
from microseg.sources import transfer
from microseg.sources.published import PublishedDataset, write_published
from microseg.sources.transfer import Patience, PublishedFile

from misbehaving_server import (
    MisbehavingServer,
    drops_after,
    empty_202,
    html_page,
    misbehaving_server,
    redirects_to,
    status,
    wrong_bytes,
)

HASTE = Patience(connect_timeout=5, read_timeout=5, attempts=3, first_pause=0.001, longest_pause=0.002)
POLYGONS = (
    b"image_url;point;polygon\r\n"
    b"IMG_00003.png;(5, 5);[(1, 1), (9, 1), (9, 9)]\r\n"
    b"IMG_00001.png;(6, 6);[(2, 2), (9, 2), (9, 9.5)]\r\n"
    b"IMG_00003.png;(7, 7);[(3, 3), (9, 3), (9, 9)]\r\n"
)
METADATA = (
    b"image_url,type,temperature,direction,distance,magnification,angle\n"
    b"IMG_00001.png,01,500,Horizontal,0.0,4000,perpendicular\n"
)
MICROGRAPHS = {
    f"IMG_{number:05}.png": np.random.default_rng(number).integers(0, 256, (96, 128), dtype=np.uint8)
    for number in (1, 2, 3)
}


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        opened.mkdir("PNG")
        for name, values in MICROGRAPHS.items():
            with opened.open(f"PNG/{name}", "w") as entry:
                mode = "RGB" if name == "IMG_00003.png" else "L"
                Image.fromarray(values).convert(mode).save(entry, format="PNG")
    return content.getvalue()


CONTENTS = {"polygons.csv": POLYGONS, "metadata.csv": METADATA, "images.zip": archive()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MisbehavingServer]:
    """Serves each file at /api/<name>, after which come /files/<name> and, as a mirror, /mirror/<name>."""
    monkeypatch.setenv("MICROSEG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with misbehaving_server() as server:
        server.contents = {
            f"/{base}/{name}": content
            for name, content in CONTENTS.items()
            for base in ("api", "storage", "mirror")
        }
        server.plans = {f"/files/{name}": [redirects_to(server.url(f"/storage/{name}"))] for name in CONTENTS}
        yield server


def dataset(server: MisbehavingServer) -> PublishedDataset:
    files = [
        PublishedFile(
            name,
            len(content),
            hashlib.md5(content, usedforsecurity=False).hexdigest(),
            (server.url(f"/api/{name}"), server.url(f"/files/{name}")),
        )
        for name, content in CONTENTS.items()
    ]
    return PublishedDataset(*files)


def write(
    server: MisbehavingServer, mirrors: tuple[str, ...] = (), manual_dir: str | None = None, name: str = "raw"
) -> Path:
    folder = Path(name)
    folder.mkdir()
    write_published(folder, list(mirrors), manual_dir, dataset(server), HASTE)
    return folder


def check_raw_dataset(folder: Path) -> None:
    assert (folder / "annotations.csv").read_bytes() == POLYGONS
    assert (folder / "metadata.csv").read_bytes() == METADATA
    content = ["annotations.csv", "images", "line_map.csv", "metadata.csv"]
    assert sorted(path.name for path in folder.iterdir()) == content
    for table, name in zip(("annotations.csv", "metadata.csv"), CONTENTS, strict=False):
        assert read_line_map(folder / table).place(7) == f"{name}, line 7"
    images = {path.name: read_micrograph(path) for path in (folder / "images").iterdir()}
    assert sorted(images) == ["IMG_00001.png", "IMG_00003.png"]
    for name, values in images.items():
        np.testing.assert_array_equal(values, MICROGRAPHS[name])


def test_raw_dataset_is_written(server: MisbehavingServer) -> None:
    check_raw_dataset(write(server))
    assert [path for path, _ in server.requests] == [f"/api/{name}" for name in CONTENTS]


def test_second_run_uses_what_was_fetched(server: MisbehavingServer) -> None:
    write(server)
    server.requests.clear()
    check_raw_dataset(write(server, name="again"))
    assert server.requests == []


def test_addresses_are_tried_in_order(server: MisbehavingServer) -> None:
    """The address for programs is blocked, the redirecting one sends a challenge, the first mirror wrong bytes."""
    for name in CONTENTS:
        server.plans[f"/api/{name}"] = [status(403)]
        server.plans[f"/files/{name}"] = [empty_202]
    server.plans["/mirror/images.zip"] = [wrong_bytes]
    server.contents["/second/images.zip"] = CONTENTS["images.zip"]
    check_raw_dataset(write(server, mirrors=(server.url("/mirror/"), server.url("/second"))))
    assert [path for path, _ in server.requests if path.endswith(".zip")] == [
        "/api/images.zip",
        "/files/images.zip",
        "/mirror/images.zip",
        "/second/images.zip",
    ]


def test_another_address_resumes_the_download(server: MisbehavingServer) -> None:
    server.plans["/api/images.zip"] = [drops_after(transfer.CHUNK), status(403)]
    check_raw_dataset(write(server))
    assert server.requests[-1] == ("/storage/images.zip", f"bytes={transfer.CHUNK}-")


def test_if_all_addresses_fail_the_error_says_how_to_download_by_hand(server: MisbehavingServer) -> None:
    server.plans["/api/images.zip"] = [status(403)]
    server.plans["/files/images.zip"] = [html_page]
    with pytest.raises(InputError) as caught:
        write(server)
    message = str(caught.value)
    file = dataset(server).images
    for part in (
        "images.zip could not be downloaded",
        f"{file.urls[0]}: answered 403",
        f"{file.urls[1]}: answered with an HTML page",
        f"from {file.urls[0]} or {file.urls[1]}",
        f"{file.size:,} bytes and md5 {file.digest}",
        "params.yaml as download.manual_dir",
    ):
        assert part in message
    assert "polygons.csv" not in message

    Path("by_hand").mkdir()
    with pytest.raises(InputError, match=rf"put it into {Path('by_hand').resolve()} \(download.manual_dir\)"):
        write(server, manual_dir="by_hand", name="again")


def test_every_file_that_fails_is_named_at_once(server: MisbehavingServer) -> None:
    server.plans = {f"/{base}/{name}": [status(404)] for base in ("api", "files") for name in CONTENTS}
    with pytest.raises(InputError) as caught:
        write(server)
    assert all(f"{name} could not be downloaded" in str(caught.value) for name in CONTENTS)


def test_files_placed_by_hand_are_used_whatever_their_name(server: MisbehavingServer) -> None:
    by_hand = Path("by_hand")
    by_hand.mkdir()
    (by_hand / "polygons.csv").write_bytes(POLYGONS)
    (by_hand / "26094926 (1).zip").write_bytes(CONTENTS["images.zip"])
    check_raw_dataset(write(server, manual_dir="by_hand"))
    assert [path for path, _ in server.requests] == ["/api/metadata.csv"]
    assert not (Path("home") / "downloads" / "images.zip").exists()


@pytest.mark.parametrize("content", [b"<html>", CONTENTS["images.zip"][:-1] + b"?"])
def test_file_placed_by_hand_that_does_not_fit_is_named_and_not_used(
    server: MisbehavingServer, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    by_hand = Path("by_hand")
    by_hand.mkdir()
    (by_hand / "images.zip").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        check_raw_dataset(write(server, manual_dir="by_hand"))
    assert f"{by_hand.resolve() / 'images.zip'} has " in caplog.text
    assert "/api/images.zip" in [path for path, _ in server.requests]


def test_relative_manual_dir_belongs_to_the_outermost_project(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary experiment runs in a copy of the project below .dvc/tmp, without the files placed by hand."""
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "temp"
    for project in (tmp_path, copy):
        (project / ".dvc").mkdir(parents=True, exist_ok=True)
        (project / ".dvc" / "config").touch()
    (tmp_path / "by_hand").mkdir()
    for name, content in CONTENTS.items():
        (tmp_path / "by_hand" / name).write_bytes(content)
    monkeypatch.chdir(copy)
    check_raw_dataset(write(server, manual_dir="by_hand"))
    assert server.requests == []


def test_manual_dir_has_to_exist(server: MisbehavingServer) -> None:
    with pytest.raises(InputError, match=r"download.manual_dir: .*nowhere: no such folder"):
        write(server, manual_dir="nowhere")


@pytest.mark.parametrize("mirror", ["mirror.example/steel", "ftp://mirror.example", "/srv/steel", ""])
def test_mirror_has_to_be_a_web_address(server: MisbehavingServer, mirror: str) -> None:
    with pytest.raises(InputError, match=r"download.mirrors: .* is not a base address"):
        write(server, mirrors=(mirror,))


def test_full_disk_is_found_before_anything_is_fetched(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space is needed for the downloads and, on the same disk, for the images once more."""
    sizes = [len(content) for content in CONTENTS.values()]
    needed = sum(sizes) + max(sizes)
    usage = type("Usage", (), {"free": needed - 1})
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="disk space are needed"):
        write(server)
    assert server.requests == []
    usage.free = needed
    check_raw_dataset(write(server, name="again"))


def test_disk_that_fills_up_during_the_download_is_reported(server: MisbehavingServer) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    downloads = Path("home/downloads")
    downloads.mkdir(parents=True)
    (downloads / "polygons.csv.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"polygons.csv.part: the disk is full"):
        write(server)
