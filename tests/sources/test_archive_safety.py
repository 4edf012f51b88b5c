"""A damaged or hostile archive is refused by name, and nothing is ever written outside the folder."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.images import read_micrograph
from microseg.sources import archive as archive_module
from microseg.sources.archive import unpack_micrographs

from fuzzing import examples

NAME = "IMG_00001.png"


def image_of(mode: str = "L", shape: tuple[int, int] = (24, 32)) -> Image.Image:
    values = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def zipped(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, content in entries.items():
            opened.writestr(name, content)
    return path


def unpack(archive: Path, *names: str) -> dict[str, Path]:
    """Unpack into a folder of its own; return what is there then, and check that nothing lies beside it."""
    folder = archive.parent / "outer" / "images"
    folder.mkdir(parents=True)
    try:
        unpack_micrographs(archive, names or [NAME], folder)
    finally:
        assert list(folder.parent.iterdir()) == [folder]
        assert all(path.is_file() and not path.is_symlink() for path in folder.iterdir())
    return {path.name: path for path in folder.iterdir()}


def test_only_the_wanted_micrographs_are_kept_byte_for_byte(tmp_path: Path) -> None:
    content = png(image_of())
    entries = {
        "PNG/": b"",
        f"PNG/{NAME}": content,
        "PNG/IMG_00002.png": content,
        "readme.txt": b"hello",
        f"__MACOSX/PNG/._{NAME}": b"?",
    }
    kept = unpack(zipped(tmp_path / "a.zip", entries))
    assert {name: path.read_bytes() for name, path in kept.items()} == {NAME: content}


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_every_8_bit_mode_of_a_grey_image_gives_the_same_values(tmp_path: Path, mode: str) -> None:
    image = image_of(mode)
    kept = unpack(zipped(tmp_path / "a.zip", {NAME: png(image)}))
    np.testing.assert_array_equal(read_micrograph(kept[NAME]), np.asarray(image_of()))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../IMG_00001.png", "leads outside"),
        ("PNG/../../IMG_00001.png", "leads outside"),
        ("PNG\\..\\..\\IMG_00001.png", "leads outside"),
        ("/elsewhere/IMG_00001.png", "absolute name"),
        ("C:\\IMG_00001.png", "absolute name"),
        ("\\\\host\\share\\IMG_00001.png", "absolute name"),
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str, problem: str) -> None:
    archive = zipped(tmp_path / "a.zip", {NAME: png(image_of()), name: b"evil"})
    with pytest.raises(InputError, match=problem):
        unpack(archive)


def test_link(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    entry = zipfile.ZipInfo(f"PNG/{NAME}")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match=r"entry 'PNG/IMG_00001.png' is a link"):
        unpack(archive)


def test_bomb_by_ratio(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {NAME: bytes(50_000_000)})
    with pytest.raises(InputError, match=r"would unpack from .* to 50,000,000 bytes"):
        unpack(archive)


def test_bomb_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = png(image_of())
    archive = zipped(tmp_path / "a.zip", {NAME: content, "IMG_00002.png": content})
    monkeypatch.setattr(archive_module, "LARGEST_SUM", 2 * len(content) - 1)
    with pytest.raises(InputError, match=f"would unpack to {2 * len(content):,} bytes"):
        unpack(archive, NAME, "IMG_00002.png")


def test_entry_that_lies_about_its_size(tmp_path: Path) -> None:
    """The directory says 100 bytes where 50 million would come out."""
    archive = zipped(tmp_path / "a.zip", {NAME: bytes(50_000_000)})
    truth, lie = struct.pack("<I", 50_000_000), struct.pack("<I", 100)
    archive.write_bytes(archive.read_bytes().replace(truth, lie))
    with pytest.raises(InputError, match=r"IMG_00001.png: cannot be unpacked \(Bad CRC-32"):
        unpack(archive)


def test_image_of_far_too_many_pixels(tmp_path: Path) -> None:
    content = bytearray(png(image_of()))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zipfile.crc32(content[12:29]))
    with pytest.raises(InputError, match=r"IMG_00001.png: has 60,000 x 60,000 pixels"):
        unpack(zipped(tmp_path / "a.zip", {NAME: bytes(content)}))


def test_missing_micrographs_are_named(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {NAME: png(image_of())})
    with pytest.raises(InputError, match=r"lacks IMG_00007.png, IMG_00008.png, which the table"):
        unpack(archive, "IMG_00008.png", NAME, "IMG_00007.png")


def test_many_missing_micrographs_are_counted(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {})
    with pytest.raises(InputError, match=r"lacks IMG_00000.png, .*, IMG_00009.png and 15 more"):
        unpack(archive, *(f"IMG_{number:05}.png" for number in range(25)))


def test_micrograph_that_is_there_twice(tmp_path: Path) -> None:
    content = png(image_of())
    archive = zipped(tmp_path / "a.zip", {f"PNG/{NAME}": content, f"old/{NAME}": content})
    with pytest.raises(
        InputError, match=r"holds IMG_00001.png twice, as PNG/IMG_00001.png and as old/IMG_00001.png"
    ):
        unpack(archive)


@pytest.mark.parametrize(
    "content", [b"", b"not an image", png(image_of())[:-40], b"\xff\xd8\xff\xe0" + bytes(100)]
)
def test_micrograph_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes) -> None:
    archive = zipped(tmp_path / "a.zip", {f"PNG/{NAME}": content})
    with pytest.raises(InputError, match=r"a.zip: PNG/IMG_00001.png: cannot be decoded as a PNG"):
        unpack(archive)


def test_16_bit_is_refused_rather_than_clipped(tmp_path: Path) -> None:
    content = png(Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)))
    with pytest.raises(InputError, match=r"IMG_00001.png: expected 8 bits per channel, found mode I"):
        unpack(zipped(tmp_path / "a.zip", {NAME: content}))


def test_unusual_compression_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {NAME: png(image_of())}, zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match=r"compressed by method 14"):
        unpack(archive)


def test_encrypted_entry_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {NAME: png(image_of())})
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # the flag in the local header, then in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"IMG_00001.png: cannot be unpacked .*encrypted"):
        unpack(archive)


@pytest.mark.parametrize("content", [b"", b"PK", b"<html></html>", b"PK\x05\x06" + bytes(18)[:-4]])
def test_not_an_archive(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"a.zip: cannot be unpacked"):
        unpack(archive)


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """Change up to eight bytes, or cut out, repeat or overwrite a run of them."""
    changed = bytearray(content)
    start, stop = np.sort(generator.integers(0, len(content), 2))
    match generator.integers(4):
        case 0:
            for position in generator.integers(0, len(content), generator.integers(1, 9)):
                changed[position] = generator.integers(256)
        case 1:
            del changed[start:stop]
        case 2:
            changed[start:start] = changed[start:stop]
        case 3:
            changed[start : start + 8] = generator.bytes(8)
    return bytes(changed)


def test_mutated_archive_gives_the_true_micrographs_or_an_input_error(tmp_path: Path) -> None:
    contents = {NAME: png(image_of()), "IMG_00002.png": png(image_of("RGB", (16, 16)))}
    sound = zipped(tmp_path / "sound.zip", {f"PNG/{name}": content for name, content in contents.items()})
    generator = np.random.default_rng(11)
    target, folder = tmp_path / "a.zip", tmp_path / "images"
    folder.mkdir()
    refused = 0
    tries = examples(400, 20_000)
    for _ in range(tries):
        target.write_bytes(mutated(sound.read_bytes(), generator))
        try:
            unpack_micrographs(target, list(contents), folder)
        except InputError:
            refused += 1
            continue
        for name, content in contents.items():
            expected = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
            np.testing.assert_array_equal(read_micrograph(folder / name), expected)
    assert 0 < refused < tries
    assert {path.name for path in folder.iterdir()} <= set(contents)
    assert {path.name for path in tmp_path.iterdir()} == {"sound.zip", "a.zip", "images"}


def test_mutated_image_raises_no_other_error(tmp_path: Path) -> None:
    """Damage inside an image that its checksum in the archive does not reveal."""
    generator = np.random.default_rng(12)
    sound = png(image_of())
    folder = tmp_path / "images"
    folder.mkdir()
    refused = 0
    tries = examples(400, 20_000)
    for _ in range(tries):
        archive = zipped(tmp_path / "a.zip", {NAME: mutated(sound, generator)}, zipfile.ZIP_STORED)
        try:
            unpack_micrographs(archive, [NAME], folder)
        except InputError:
            refused += 1
    assert refused > tries / 2
