"""One set of polygons in each form that the folder source reads, for the tests that compare the forms."""

import json

import numpy as np

from microseg.annotations.masks import create_binary_mask
from microseg.micrographs.images import write_mask, write_micrograph


def write_images(folder, names, size):
    (folder / "images").mkdir(parents=True)
    for name in names:
        write_micrograph(folder / "images" / name, np.full(size, 99, np.uint8))


def write_csv_form(folder, masks, delimiter=";", line_end="\n", encoding="utf-8"):
    quote = '"' if delimiter == "," else ""
    lines = [["image_url", "point", "polygon"]]
    for mask in masks:
        for polygon in mask:
            nodes = [tuple(node) for node in polygon.nodes.tolist()]
            lines.append([mask.img_name, f"{quote}{polygon.center}{quote}", f"{quote}{nodes}{quote}"])
    text = line_end.join(delimiter.join(fields) for fields in lines) + line_end
    (folder / "annotations.csv").write_bytes(text.encode(encoding))


def coco_content(masks, size):
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": [polygon.nodes.ravel().tolist()],
        }
        for image, mask in enumerate(masks)
        for number, polygon in enumerate(mask)
    ]
    images = [
        {"id": number, "file_name": f"images/{mask.img_name}", "height": size[0], "width": size[1]}
        for number, mask in enumerate(masks)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "island"}]}


def write_coco_form(folder, masks, size):
    (folder / "annotations.json").write_text(json.dumps(coco_content(masks, size)))


def write_mask_form(folder, masks, size):
    (folder / "masks").mkdir()
    for mask in masks:
        write_mask(folder / "masks" / mask.img_name, create_binary_mask(mask, *size))
