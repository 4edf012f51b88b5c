"""However the bytes of annotations and images are damaged, the result is right or an InputError."""

import ast
import csv
import io
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygonize import HEADER_LINE
from microseg.annotations.polygons import AnnotatedPolygon, ImageMask, read_annotations
from microseg.common.errors import InputError
from microseg.micrographs.conversion import read_grey
from microseg.sources.coco import coco_lines
from microseg.sources.folder import read_rows, table_lines
from microseg.sources.mask_folder import mask_lines
from microseg.sources.outlines import read_json
from microseg.sources.pairing import Micrographs

from dataset_forms import read_lines, write_csv_form
from fuzzing import fuzz

SIZE = (20, 24)
TOKENS = [b"nan", b"NaN", b"Infinity", b"1e999", b"true", b"null", b"\0", b"\xff\xfe", b"\xef\xbb\xbf"]
TOKENS += [bytes([character]) for character in b'";,\t\n\r[](){}-.09e ']
mutations = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "repeat", "cut"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=4)),
    ),
    min_size=1,
    max_size=4,
)


def mutated(content, changes):
    for what, where, token in changes:
        at = int(where * len(content))
        match what:
            case "replace":
                content = content[:at] + token + content[at + len(token) :]
            case "insert":
                content = content[:at] + token + content[at:]
            case "delete":
                content = content[:at] + content[at + len(token) :]
            case "repeat":
                content = content[:at] + content[at // 2 : at] + content[at:]
            case "cut":
                content = content[:at]
    return content


def outlines(masks):
    return {mask.img_name: [polygon.nodes.tolist() for polygon in mask] for mask in masks}


def plainly_read(text, delimiter):
    """Read a table in the simplest way; anything odd in it raises some exception."""
    content = {}
    lines = [line for line in re.split("\r\n|\r|\n", text) if line.strip()]
    for name, point, polygon in csv.reader(lines[1:], delimiter=delimiter):
        islands = content.setdefault(name.strip(), [])
        if point.strip() or polygon.strip():
            islands.append(
                (ast.literal_eval(point.strip()), [list(node) for node in ast.literal_eval(polygon.strip())])
            )
    return content


CSV_EXAMPLE = [
    ImageMask("IMG_00001.png", [AnnotatedPolygon((627, 319), [(720, 288), (725, 294), (-2, 300.5), (1e-7, 302)])]),
    ImageMask("IMG_00002.png", [AnnotatedPolygon((1, 2), [(0, 0), (4, 0), (0, 4)])] * 2),
]


COCO_EXAMPLE = {
    "images": [{"id": number, "file_name": mask.img_name} for number, mask in enumerate(CSV_EXAMPLE)],
    "annotations": [
        {
            "image_id": number,
            "category_id": 1,
            "segmentation": [polygon.nodes.ravel().tolist() for polygon in mask],
        }
        for number, mask in enumerate(CSV_EXAMPLE)
    ],
}


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@fuzz
@given(mutations)
def test_a_damaged_table_is_read_right_or_refused(tmp_path, delimiter, changes):
    write_csv_form(tmp_path, CSV_EXAMPLE, delimiter)
    content = mutated((tmp_path / "annotations.csv").read_bytes(), changes)
    (tmp_path / "annotations.csv").write_bytes(content)
    try:
        masks = read_annotations(tmp_path / "annotations.csv")
    except InputError:
        return
    expected = plainly_read(content.decode("utf-8-sig"), delimiter)
    assert {
        mask.img_name: [(polygon.center, polygon.nodes.tolist()) for polygon in mask] for mask in masks
    } == expected
    lines = [line for line, _ in table_lines(tmp_path / "annotations.csv", {})]
    assert read_lines(tmp_path / "raw.csv", lines) == masks


@fuzz
@given(mutations)
def test_a_damaged_coco_file_is_read_right_or_refused(tmp_path, changes):
    path = tmp_path / "annotations.json"
    content = mutated(json.dumps(COCO_EXAMPLE).encode(), changes)
    path.write_bytes(content)
    try:
        # Without the sizes of the images, outlines are passed on as they are, in the frame of the pipeline.
        lines = coco_lines(path, read_json(path), Micrographs({}, {}, {}), None)
        masks = read_lines(tmp_path / "raw.csv", [line for line, _ in lines])
    except InputError:
        return
    plain = json.loads(content.decode("utf-8-sig"))
    names = {image["id"]: image["file_name"].replace("\\", "/").split("/")[-1] for image in plain["images"]}
    expected = {}
    for annotation in plain["annotations"]:
        for flat in annotation["segmentation"]:
            nodes = [[x - 0.5 for x in flat[at : at + 2]] for at in range(0, len(flat), 2)]
            expected.setdefault(names[annotation["image_id"]], []).append(nodes)
    assert outlines(masks) == expected


@fuzz
@given(mutations)
def test_damaged_metadata_is_refused_or_read_as_a_table(tmp_path, changes):
    (tmp_path / "metadata.csv").write_bytes(
        mutated(b'image_url;type;note\na.png;01;"x; y"\nb.png;02;z\n', changes)
    )
    try:
        columns, rows = read_rows(tmp_path / "metadata.csv", {}, {})
    except InputError:
        return
    assert "image_url" in columns
    assert all(list(row) == columns for row, _ in rows)


def encoded(pixels, ending):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=ending)
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
MASK = create_binary_mask(ImageMask("a.png", [AnnotatedPolygon((9, 9), [(2, 3), (20, 5), (9, 18)])]), *SIZE)
IMAGES = {
    "PNG": encoded(NOISE, "PNG"),
    "TIFF": encoded(NOISE, "TIFF"),
    "JPEG": encoded(NOISE, "JPEG"),
    "16-bit TIFF": encoded(NOISE.astype(np.uint16) * 257, "TIFF"),
    "RGB PNG": encoded(np.dstack([NOISE, NOISE // 2, NOISE]), "PNG"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", IMAGES)
@fuzz
@given(mutations)
def test_a_damaged_image_is_refused_or_still_an_image(tmp_path, kind, changes):
    """PNG has checksums, so only the pixels of the original remain; the other formats have none."""
    path = tmp_path / "image"
    path.write_bytes(IMAGES[kind])
    original = read_grey(path)
    path.write_bytes(mutated(IMAGES[kind], changes))
    try:
        grey = read_grey(path)
    except InputError:
        return
    assert grey.ndim == 2
    if "PNG" in kind:
        assert np.array_equal(grey, original)


@pytest.mark.filterwarnings("ignore")
@fuzz
@given(mutations)
def test_a_damaged_mask_is_refused_or_the_same_mask(tmp_path, changes):
    (tmp_path / "masks").mkdir(exist_ok=True)
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    (tmp_path / "masks" / "a.png").write_bytes(mutated(encoded(MASK.astype(np.uint8) * 255, "PNG"), changes))
    try:
        micrographs = Micrographs({"a.png": SIZE}, {"a.png": "a.png"}, {"a.png": 0})
        lines = [line for line, _ in mask_lines(tmp_path / "masks", micrographs, None, "")]
    except InputError:
        return
    (again,) = read_lines(tmp_path / "raw.csv", lines)
    assert np.array_equal(create_binary_mask(again, *SIZE), MASK)


@pytest.mark.parametrize(
    "text", ["[" * 10**6, "[(1, 2), " * 10**5, "[(" + "9" * 10**6, "(" * 10**6 + ")" * 10**6, '"' * 10**6]
)
def test_adversarial_texts_are_refused_in_linear_time(tmp_path, text):
    for line in (f"a.png;(1, 1);{text}", f"a.png;{text};[]", text):
        (tmp_path / "annotations.csv").write_text(f"{HEADER_LINE}\n{line}\n")
        with pytest.raises(InputError):
            read_annotations(tmp_path / "annotations.csv")
