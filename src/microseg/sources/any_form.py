"""Annotations in any form that the source "folder" reads: lines of files with outlines, masks of micrographs."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygonize import HEADER_LINE, Mask
from microseg.annotations.polygons import scan_annotations
from microseg.annotations.quality import find_misplaced
from microseg.common.errors import InputError
from microseg.micrographs.folders import walk_files
from microseg.micrographs.line_map import LineMap
from microseg.sources.coco import coco_lines
from microseg.sources.geojson import is_geojson, read_geojson
from microseg.sources.labelme import is_labelme, read_labelme
from microseg.sources.mask_folder import NONZERO, find_masks, mask_of
from microseg.sources.outlines import OutlineFile, file_lines, read_json
from microseg.sources.pairing import Micrographs
from microseg.sources.roi_set import SUFFIXES as ROI_SUFFIXES
from microseg.sources.roi_set import read_rois

SUFFIXES = frozenset({".json", ".geojson", *ROI_SUFFIXES})
"""Of files with outlines."""


def read_outlines(path: Path) -> Any:
    """Return the content of a file with outlines: an `OutlineFile`, or JSON of another form, which may be COCO's.

    Raises:
        InputError: the file is damaged.
    """
    if path.suffix.lower() in ROI_SUFFIXES:
        return read_rois(path)
    content = read_json(path)
    if is_labelme(content):
        return read_labelme(path, content)
    return read_geojson(path, content) if is_geojson(content) else content


def outline_lines(
    contents: Mapping[Path, Any], micrographs: Micrographs, foreground: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Yield the lines of annotations.csv below its header, each with its place in the files.

    Args:
        contents: the content of each file, as `read_outlines` returns it.
        micrographs: the micrographs of the folder.
        foreground: the classes that are foreground, None if there is only one.

    Raises:
        InputError: the files are of neither form, or not usable.
    """
    others = [path for path, content in contents.items() if not isinstance(content, OutlineFile)]
    if not others:
        return file_lines(list(contents.values()), micrographs, foreground)
    if len(contents) == 1:
        return coco_lines(others[0], contents[others[0]], micrographs, foreground)
    raise InputError(
        f"{others[0]}: not a file of LabelMe, QuPath or ImageJ like the others; leave one COCO file, or those"
    )


def read_masks(
    source: Path, micrographs: Micrographs, foreground: Sequence[str] | None, suffix: str
) -> dict[str, Callable[[], Mask]]:
    """Return what gives the mask of each annotated micrograph, (height, width) without the rows that are cut off.

    Args:
        source: a folder of masks or of numbered islands, of files with outlines, or such a file.
        micrographs: the micrographs.
        foreground: the values or classes that are foreground; None for all values but 0, or the only class.
        suffix: what the names of masks have behind that of the micrograph; "" for nothing.

    Raises:
        InputError: the annotations cannot be used, or one is of a micrograph that is not there.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; give the masks or outlines")
    files = [one for one in walk_files(source) if one.suffix.lower() in SUFFIXES] if source.is_dir() else [source]
    if not files:
        paths, chosen = find_masks(source, micrographs, foreground or [NONZERO], suffix)
        return {name: partial(mask_of, micrographs, chosen, name, path) for name, path in paths.items()}
    lines = list(outline_lines({file: read_outlines(file) for file in files}, micrographs, foreground))
    with tempfile.TemporaryDirectory(prefix="microseg-") as folder:
        table = Path(folder, "annotations.csv")
        text = "\n".join([HEADER_LINE, *(line for line, _ in lines)])
        table.write_text(text, encoding="utf-8", newline="\n")
        line_map = LineMap(table, lines={number: place for number, (_, place) in enumerate(lines, start=2)})
        annotated, unusable = scan_annotations(table, line_map)
    for problem in unusable:
        raise InputError(f"{line_map.place(problem.line)}: {problem.detail}; correct or delete it")
    names = {new: name for name, new in micrographs.new_names.items()}
    sizes = {new: micrographs.kept(name) or (0, 0) for new, name in names.items()}
    for issue in chain.from_iterable(find_misplaced(one, sizes) for one in annotated):
        place = source if issue.line is None else lines[issue.line - 2][1]
        raise InputError(f"{place}: {issue.detail}; correct or delete it")
    return {names[one.img_name]: partial(create_binary_mask, one, *sizes[one.img_name]) for one in annotated}
