"""One set of polygons in each form that the folder source reads, for the tests that compare the forms."""

import json

import numpy as np
from skimage.measure import label

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygonize import HEADER_LINE
from microseg.annotations.polygons import ImageMask, read_annotations
from microseg.micrographs.images import write_mask, write_micrograph


def write_images(folder, names, size):
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(names):
        write_micrograph(folder / "images" / name, np.full(size, 99 + number, np.uint8))


def write_csv_form(folder, masks, delimiter=";", line_end="\n", encoding="utf-8"):
    quote = '"' if delimiter == "," else ""
    lines = [["image_url", "point", "polygon"]]
    for mask in masks:
        for polygon in mask:
            nodes = [tuple(node) for node in polygon.nodes.tolist()]
            lines.append([mask.img_name, f"{quote}{polygon.center}{quote}", f"{quote}{nodes}{quote}"])
    text = line_end.join(delimiter.join(fields) for fields in lines) + line_end
    (folder / "annotations.csv").write_bytes(text.encode(encoding))


def read_lines(path, lines):
    """Write lines of the pipeline's own table of annotations to `path`, and read them."""
    path.write_text("\n".join([HEADER_LINE, *lines]), encoding="utf-8")
    return read_annotations(path)


def coco_content(masks, size):
    """Return what a tool writes for the pixels of each polygon: corners of pixels, holes reached by a slit."""
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": outlines,
        }
        for image, mask in enumerate(masks)
        for number, polygon in enumerate(mask)
        if (outlines := corner_outlines(create_binary_mask(ImageMask("", [polygon]), *size)))
    ]
    images = [
        {"id": number, "file_name": f"images/{mask.img_name}", "height": size[0], "width": size[1]}
        for number, mask in enumerate(masks)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "island"}]}


def corner_outlines(mask):
    """Return the outline of each region of a mask as COCO writes it: x, y, x, y, ... of the corners of its pixels.

    A hole is reached by a slit there and back from the outline around it, which by the even-odd rule encloses
    nothing.
    """
    regions = label(mask, connectivity=1)
    outlines = []
    for number in range(1, regions.max() + 1):
        outline, *holes = corner_loops(regions == number)
        for hole in holes:
            outline += [outline[0], *hole, hole[0], outline[0]]
        outlines.append([coordinate for corner in outline for coordinate in corner])
    return outlines


def corner_loops(region):
    """Walk along the sides between foreground and background, the foreground on the right, until none is left."""
    padded = np.pad(region, 1)
    sides = {}
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    for row, column in np.argwhere(region & ~surrounded).tolist():
        corners = [(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)]
        beside = [(row, column + 1), (row + 1, column + 2), (row + 2, column + 1), (row + 1, column)]
        for side, neighbour in enumerate(beside):
            if not padded[neighbour]:
                sides.setdefault(corners[side], []).append(corners[(side + 1) % 4])
    loops = []
    while sides:
        loop = [next(iter(sides))]
        while loop[-1] in sides:
            following = sides[loop[-1]].pop()
            if not sides[loop[-1]]:
                del sides[loop[-1]]
            loop.append(following)
        loops.append(loop[:-1])
    return loops


def write_coco_form(folder, masks, size):
    (folder / "annotations.json").write_text(json.dumps(coco_content(masks, size)))


def write_mask_form(folder, masks, size):
    (folder / "masks").mkdir()
    for mask in masks:
        write_mask(folder / "masks" / mask.img_name, create_binary_mask(mask, *size))
