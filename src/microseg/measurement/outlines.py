"""The outlines of islands as files of annotation tools: COCO, LabelMe, GeoJSON and ROI sets of ImageJ.

All four put (0, 0) at the outer corner of the top left pixel, so outlines run along the edges of pixels, in the
frame of the whole micrograph. Filled by the rule of the tool, they give the mask again.

An island of pixels that touch only at a corner has several polygons. Holes are rings of their own in GeoJSON and
ImageJ. COCO and LabelMe have no holes: there an island with a hole is cut in two through it. The pieces stay one
annotation of COCO, and have the same group_id in LabelMe.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from tifffile import imread

from microseg.annotations.polygonize import inset, rings, trace_islands, without_holes
from microseg.common.errors import InputError
from microseg.common.files import remove
from microseg.common.parallel import map_in_processes
from microseg.measurement.intake import InputImage

FOLDER = "outlines"
LABEL = "island"
"""The name of the only class, where the foreground has none."""

Islands = Mapping[int, Any]
"""The shapely geometry of each island by its number: a Polygon, or a MultiPolygon."""


def write_outlines(
    results: Path, images: Sequence[InputImage], formats: Sequence[str], label: str = LABEL
) -> None:
    """Write the outlines of all micrographs of a run into the folder outlines/ of its results.

    Args:
        results: the folder of the results, with labels/.
        images: the micrographs.
        formats: some of `FORMATS`.
        label: the name of the class, by which `download.foreground` finds corrected outlines again.
    """
    remove(results / FOLDER)  # what an interrupted run has left
    (results / FOLDER).mkdir()
    work = partial(_write_outlines_of, results, formats, label)
    annotations = list(map_in_processes(work, images, "writing outlines"))
    if COCO in formats:
        (results / FOLDER / f"{COCO}.json").write_bytes(_json(_coco(images, annotations, label)))


def _write_outlines_of(
    results: Path, formats: Sequence[str], label: str, image: InputImage
) -> list[dict[str, Any]]:
    """Write the files of one micrograph; return its annotations for the one file of COCO, without their ids."""
    islands = trace_islands(imread(results / "labels" / f"{image.stem}.tif"))
    for name, (suffix, content) in WRITERS.items():
        path = results / FOLDER / name / f"{image.stem}{suffix}"
        if name in formats:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(islands, label, image, path))
    return list(_coco_annotations(islands)) if COCO in formats else []


def _coco_annotations(islands: Islands) -> Iterator[dict[str, Any]]:
    for number, island in islands.items():
        left, top, right, bottom = shapely.bounds(island).tolist()
        yield {
            "category_id": 1,
            "segmentation": [rings(piece)[0].astype(int).ravel().tolist() for piece in without_holes(island)],
            "area": shapely.area(island),
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
            "island": number,
        }


def _coco(
    images: Sequence[InputImage], annotations: Sequence[Sequence[dict[str, Any]]], label: str
) -> dict[str, Any]:
    pairs = [(image, one) for image, ones in enumerate(annotations, 1) for one in ones]
    return {
        "images": [
            {"id": number, "file_name": image.name, "width": image.width, "height": image.height}
            for number, image in enumerate(images, 1)
        ],
        "annotations": [{"id": number, "image_id": image, **one} for number, (image, one) in enumerate(pairs, 1)],
        "categories": [{"id": 1, "name": label, "supercategory": ""}],
    }


def _labelme(islands: Islands, label: str, image: InputImage, path: Path) -> bytes:
    shapes = [
        {
            "label": label,
            "points": inset(piece).tolist(),
            "group_id": number,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for number, island in islands.items()
        for piece in without_holes(island)
    ]
    size = {"imageHeight": image.height, "imageWidth": image.width}
    place = {"imagePath": _seen_from(path.parent, image.path), "imageData": None}
    return _json({"version": "5.8.1", "flags": {}, "shapes": shapes, **place, **size})


def _seen_from(folder: Path, image: Path) -> str:
    """Return the path of an image relative to the folder of its file, where LabelMe looks for it."""
    try:
        return Path(os.path.relpath(image.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return image.name


def _geojson(islands: Islands, label: str, image: InputImage, _: Path) -> bytes:
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(island)),
            "properties": {"objectType": "annotation", "name": str(number), "classification": {"name": label}},
        }
        for number, island in islands.items()
    ]
    size = {"image": image.name, "width": image.width, "height": image.height}
    return _json({"type": "FeatureCollection", **size, "features": features})


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _imagej(islands: Islands, *_: object) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, island in islands.items():
            archive.writestr(f"{number}.roi", _roi(str(number), island))
    return content.getvalue()


def _roi(name: str, island: Any) -> bytes:
    """Return an island as ImageJ saves it: one outline as its wand traces it, several as a composite selection."""
    from roifile import ROI_TYPE, ImagejRoi

    outlines = [ring for polygon in shapely.get_parts(island) for ring in rings(polygon)]
    roi = ImagejRoi.frompoints(outlines[0].astype(int), name=name)
    roi.roitype = ROI_TYPE.TRACED
    if len(outlines) > 1:
        # The segments of a path as java.awt.geom.PathIterator numbers them: go to a point, draw a line, close.
        path = [[0, *ring[0], *np.insert(ring[1:], 0, 1, axis=1).ravel(), 4] for ring in outlines]
        left, top, right, bottom = shapely.bounds(island).astype(int).tolist()
        roi = ImagejRoi(roitype=ROI_TYPE.RECT, name=name, left=left, top=top, right=right, bottom=bottom)
        roi.multi_coordinates = np.concatenate(path).astype(np.float32)
        roi.shape_roi_size = len(roi.multi_coordinates)
    content: bytes = roi.tobytes()
    return content


COCO = "coco"
WRITERS: dict[str, tuple[str, Callable[[Islands, str, InputImage, Path], bytes]]] = {
    "labelme": (".json", _labelme),
    "geojson": (".geojson", _geojson),
    "imagej": (".zip", _imagej),
}
"""The suffix of the file of each micrograph in a format, and the function that returns its content."""
FORMATS = (COCO, *WRITERS)


def parse_formats(text: str) -> tuple[str, ...]:
    """Read formats with commas between them; InputError where one is unknown."""
    formats = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in formats if name not in FORMATS]:
        raise InputError(f"--outlines: {unknown[0]!r} is not a format; give some of {', '.join(FORMATS)}")
    return formats
