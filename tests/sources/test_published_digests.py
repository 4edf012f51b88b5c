"""Sizes, digests and addresses of the published files are those of figshare."""

from pathlib import Path

from microseg.sources.published import AACHEN_HEERLEN
from microseg.sources.transfer import mismatch


def test_published_tables_have_the_pinned_size_and_md5(shared_data: Path) -> None:
    for file in (AACHEN_HEERLEN.polygons, AACHEN_HEERLEN.metadata):
        assert mismatch(shared_data / "aachen_heerlen" / file.name, file) is None


def test_published_files_are_pinned_as_on_figshare() -> None:
    assert [file.size for file in AACHEN_HEERLEN] == [3_744_453, 136_915, 1_223_165_391]
    for file, number in zip(AACHEN_HEERLEN, (25214918, 25214927, 26094926), strict=True):
        assert file.urls == (
            f"https://api.figshare.com/v2/file/download/{number}",
            f"https://ndownloader.figshare.com/files/{number}",
        )
        assert len(bytes.fromhex(file.digest)) == 16
