"""The pixel size that TESCAN's microscopes write: into a tag of the TIFF, or into a .hdr file beside it."""

import re
from pathlib import Path

SIZE = re.compile(r"^\s*PixelSize([XY])\s*=\s*([-+\d.eE]+)", re.MULTILINE)


def tescan_sizes(content: Path | bytes | str | None) -> tuple[float, float, str] | None:
    """Return width and height of a pixel in micrometres and where that stands; None where it stands nowhere.

    Args:
        content: the value of the tag 50431, or the path of a picture that may have its header beside it: of
            `steel.tif` it is `steel.hdr` or `steel-tif.hdr`.
    """
    if isinstance(content, Path):
        return _beside(content)
    text = content.decode("latin-1") if isinstance(content, bytes) else content or ""
    return _sizes(text, "TESCAN header, PixelSizeX")


def _beside(picture: Path) -> tuple[float, float, str] | None:
    for name in (f"{picture.stem}.hdr", f"{picture.stem}-{picture.suffix[1:]}.hdr"):
        header = picture.with_name(name)
        if header.is_file():
            return _sizes(header.read_text(encoding="latin-1"), f"{name}, PixelSizeX")
    return None


def _sizes(text: str, source: str) -> tuple[float, float, str] | None:
    # The lengths stand in metres, in lines such as "PixelSizeX=1.2e-08".
    sizes = {axis: float(number) * 1e6 for axis, number in SIZE.findall(text)}
    return (sizes["X"], sizes.get("Y", sizes["X"]), source) if "X" in sizes else None
