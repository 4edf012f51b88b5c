"""The synthetic source: published layout and dialect, the same bytes for a seed, a task worth learning."""

import hashlib
from pathlib import Path

from microseg.params import SyntheticParams
from microseg.sources.synthetic import write_synthetic


def draw(folder: Path, images: int, height: int = 128, width: int = 160, seed: int = 7, workers: int = 2) -> Path:
    folder.mkdir()
    write_synthetic(folder, SyntheticParams(images=images, height=height, width=width), seed, workers)
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}  # noqa: S324


def test_same_seed_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    one = digests(draw(tmp_path / "one", images=5, workers=1))
    assert len(one) == 5 + 2
    assert digests(draw(tmp_path / "two", images=5, workers=2)) == one
