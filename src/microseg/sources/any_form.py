"""Annotations in any form that the source "folder" reads: the lines of JSON files, and masks of micrographs."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygonize import HEADER_LINE, Mask
from microseg.annotations.polygons import scan_annotations
from microseg.common.errors import InputError
from microseg.micrographs.folders import walk_files
from microseg.micrographs.line_map import LineMap
from microseg.sources.coco import coco_lines
from microseg.sources.labelme import is_labelme, labelme_lines
from microseg.sources.mask_folder import NONZERO, find_masks, mask_of
from microseg.sources.outlines import read_json
from microseg.sources.pairing import Micrographs

SUFFIXES = frozenset({".json"})
"""Of files with outlines."""


def json_lines(
    contents: Mapping[Path, Any], micrographs: Micrographs, foreground: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv below its header, each with its place: of one COCO file, or LabelMe's.

    Args:
        contents: the content of each file.
        micrographs: the micrographs of the folder.
        foreground: the classes that are foreground, None if there is only one.

    Raises:
        InputError: the files are of neither form, or not usable.
    """
    if all(map(is_labelme, contents.values())):
        return labelme_lines(contents, micrographs, foreground)
    if len(contents) == 1:
        return coco_lines(*next(iter(contents.items())), micrographs, foreground)
    odd = next(path for path, content in contents.items() if not is_labelme(content))
    raise InputError(f"{odd}: not a file of LabelMe like the others; leave one COCO file, or those of LabelMe")


def read_masks(
    source: Path, micrographs: Micrographs, foreground: Sequence[str] | None, suffix: str
) -> dict[str, Callable[[], Mask]]:
    """Return what gives the mask of each annotated micrograph, (height, width) without the rows that are cut off.

    Args:
        source: a folder of masks or of numbered islands, of JSON files with outlines, or such a file.
        micrographs: the micrographs.
        foreground: the values or classes that are foreground; None for all values but 0, or the only class.
        suffix: what the names of masks have behind that of the micrograph; "" for nothing.

    Raises:
        InputError: the annotations cannot be used, or one is of a micrograph that is not there.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; give the masks or outlines")
    files = [one for one in walk_files(source) if one.suffix in SUFFIXES] if source.is_dir() else [source]
    if not files:
        paths, chosen = find_masks(source, micrographs, foreground or [NONZERO], suffix)
        return {name: partial(mask_of, micrographs, chosen, name, path) for name, path in paths.items()}
    lines = list(json_lines({file: read_json(file) for file in files}, micrographs, foreground))
    with tempfile.TemporaryDirectory(prefix="microseg-") as folder:
        table = Path(folder, "annotations.csv")
        table.write_text("\n".join([HEADER_LINE, *(line for line, _ in lines)]), encoding="utf-8")
        line_map = LineMap(table, lines={number: place for number, (_, place) in enumerate(lines, start=2)})
        annotated, unusable = scan_annotations(table, line_map)
    for problem in unusable:
        raise InputError(f"{line_map.place(problem.line)}: {problem.detail}; correct or delete it")
    names = {new: name for name, new in micrographs.new_names.items()}
    for mask in annotated:
        if mask.img_name not in names:
            raise InputError(
                f"{source}: there is no micrograph {mask.img_name}; put it there, or delete its outlines"
            )
    sizes = {mask.img_name: micrographs.kept(names[mask.img_name]) or (0, 0) for mask in annotated}
    return {names[one.img_name]: partial(create_binary_mask, one, *sizes[one.img_name]) for one in annotated}
