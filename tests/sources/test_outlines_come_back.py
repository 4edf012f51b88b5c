"""Outlines that `microseg segment` writes, corrected or not, give the masks again as annotations."""

import json
import shutil

import numpy as np
import pytest
from roifile import ROI_TYPE, ImagejRoi, roiwrite

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import read_annotations
from microseg.common.errors import InputError
from microseg.sources.any_form import read_masks
from microseg.sources.folder import write_folder
from microseg.sources.pairing import Micrographs

from dataset_forms import write_images
from outline_files import SIZE, awkward_masks, run_imagej, write_outlines_of

BAR = 8
HEIGHT, WIDTH = SIZE[0] + BAR, SIZE[1]
MASKS = {f"{number}.png": mask for number, mask in enumerate([*awkward_masks()[:4], awkward_masks()[-1]])}
WHOLE = {name: np.pad(mask, ((0, BAR), (0, 0))) for name, mask in MASKS.items()}
FORMS = {"coco": "coco.json", "labelme": "labelme", "geojson": "geojson", "imagej": "imagej"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write_outlines_of(folder, MASKS.values(), BAR)
    return folder / "results/outlines"


def taken_in(source, crop_bottom=0):
    """Return the masks that the folder source makes."""
    raw = source.parent / f"raw_{len(list(source.parent.iterdir()))}"
    raw.mkdir()
    write_folder(raw, source, crop_bottom)
    size = (HEIGHT - crop_bottom, WIDTH)
    return {mask.img_name: create_binary_mask(mask, *size) for mask in read_annotations(raw / "annotations.csv")}


def read_given(source, names=("a.png",), crop_bottom=0, foreground=None):
    """Return the masks that a command reads of micrographs of its own."""
    sizes = dict.fromkeys(names, (HEIGHT, WIDTH))
    names = {name: name.replace("/", "_") for name in names}
    micrographs = Micrographs(sizes, names, dict.fromkeys(names, crop_bottom), are_given=True)
    return {name: mask() for name, mask in read_masks(source, micrographs, foreground, "").items()}


@pytest.mark.parametrize("form", FORMS)
def test_they_are_annotations_at_the_size_of_the_user_s_micrograph(form, written, tmp_path):
    mine = tmp_path / "mine"
    write_images(mine, MASKS, (HEIGHT, WIDTH))
    if form == "coco":
        shutil.copy(written / "coco.json", mine / "annotations.json")
    else:
        shutil.copytree(written / form, mine / "annotations")
    expected = {name: mask for name, mask in WHOLE.items() if form != "coco" or mask.any()}
    for crop_bottom in (0, BAR):
        found = taken_in(mine, crop_bottom)
        assert found.keys() == expected.keys()  # COCO does not say that somebody saw no island
        assert all(np.array_equal(found[name], mask[: HEIGHT - crop_bottom]) for name, mask in expected.items())


@pytest.mark.parametrize("form", FORMS)
def test_they_are_the_masks_of_a_command_s_micrographs(form, written, caplog):
    found = read_given(written / FORMS[form], MASKS, BAR)
    assert all(np.array_equal(mask, MASKS[name]) for name, mask in found.items())
    assert len(found) == len(MASKS) - (form == "coco")
    assert "hole" not in caplog.text  # these holes are meant


def test_micrographs_of_the_same_name_are_told_apart_by_their_sub_folders(written, tmp_path):
    for folder, number in (("hot", 0), ("cold", 1)):
        for form, suffix in (("labelme", "json"), ("geojson", "geojson"), ("imagej", "zip")):
            (tmp_path / form / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(written / form / f"{number}.{suffix}", tmp_path / form / folder / f"a.{suffix}")
            if form != "imagej":
                file = tmp_path / form / folder / f"a.{suffix}"
                file.write_text(file.read_text().replace(f"{number}.png", f"{folder}/a.png"))
    for form in ("labelme", "geojson", "imagej"):
        found = read_given(tmp_path / form, ("cold/a.png", "hot/a.png"))
        assert np.array_equal(found["hot/a.png"], WHOLE["0.png"])
        assert np.array_equal(found["cold/a.png"], WHOLE["1.png"])


def square(left, top, side):
    return [[left, top], [left + side, top], [left + side, top + side], [left, top + side], [left, top]]


def feature(coordinates, kind="Polygon", label=None):
    properties = {"objectType": "annotation"} | ({"classification": {"name": label}} if label else {})
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def write_geojson(folder, content):
    (folder / "a.geojson").write_text(json.dumps(content))
    return folder / "a.geojson"


@pytest.mark.parametrize("wrap", [lambda ones: {"type": "FeatureCollection", "features": ones}, list])
def test_what_qupath_exports_is_read_with_holes_and_parts(tmp_path, wrap):
    island = feature([square(2, 2, 10), square(4, 4, 3)])
    parts = feature([[square(20, 20, 4)], [square(30, 20, 2)]], "MultiPolygon")
    mask = read_given(write_geojson(tmp_path, wrap([island, parts])))["a.png"]
    assert mask.sum() == 100 - 9 + 16 + 4
    assert not mask[4:7, 4:7].any()
    assert read_given(write_geojson(tmp_path, island))["a.png"].sum() == 91


def test_a_file_without_outlines_declares_an_empty_micrograph(tmp_path):
    file = write_geojson(tmp_path, {"type": "FeatureCollection", "features": [feature([square(2, 2, 4)])]})
    (tmp_path / "b.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    found = read_given(file.parent, ("a.png", "b.png"))
    assert {name: mask.sum() for name, mask in found.items()} == {"a.png": 16, "b.png": 0}


def test_the_foreground_is_a_name_of_qupath_s_classifications(tmp_path):
    ones = [
        feature([square(2, 2, 4)], label="MA"),
        feature([square(20, 20, 9)], label="Pearlite"),
        feature([square(0, 30, 5)]),
    ]
    file = write_geojson(tmp_path, ones)
    assert read_given(file, foreground=["MA"])["a.png"].sum() == 16
    with pytest.raises(
        InputError, match=r"annotates 3 classes: MA .*, Pearlite .*, unclassified .*set --foreground"
    ):
        read_given(file)


def test_selections_and_features_without_any_classification_are_foreground(tmp_path):
    roiwrite(tmp_path / "a.zip", ImagejRoi.frompoints([(10, 10), (20, 10), (20, 20), (10, 20)], name="one"))
    write_geojson(tmp_path, feature([square(2, 2, 4)])).rename(tmp_path / "b.geojson")
    found = read_given(tmp_path, ("a.png", "b.png"), foreground=["MA"])
    assert {name: mask.sum() for name, mask in found.items()} == {"a.png": 100, "b.png": 16}


POLYGON = ImagejRoi.frompoints([(10, 10), (20, 10), (20, 20), (10, 20)])
FLOATS = ImagejRoi.frompoints([(10.4, 10.4), (20.4, 10.4), (20.4, 20.4), (10.4, 20.4)])
RECTANGLE = ImagejRoi(roitype=ROI_TYPE.RECT, left=10, top=5, right=14, bottom=8)
CIRCLE = ImagejRoi(roitype=ROI_TYPE.OVAL, left=8, top=8, right=12, bottom=12)
LINE = ImagejRoi(roitype=ROI_TYPE.LINE, name="my line", x1=1, y1=1, x2=9, y2=9)


# The pixels by hand: those whose center (column + 0.5, row + 0.5) lies inside.
@pytest.mark.parametrize(("roi", "pixels"), [(POLYGON, 100), (FLOATS, 100), (RECTANGLE, 12), (CIRCLE, 12)])
@pytest.mark.parametrize("suffix", ["zip", "roi"])
def test_every_selection_with_an_area_is_filled(tmp_path, roi, pixels, suffix):
    roi.name = roi.name or "one"
    roiwrite(tmp_path / f"a.{suffix}", roi)
    assert read_given(tmp_path)["a.png"].sum() == pixels


def test_a_set_that_the_real_imagej_saves_after_corrections_is_read(written, tmp_path):
    """One island is deleted, one gets a hole, and one each is added as rectangle, freehand, traced and polygon."""
    macro = f"""
      newImage("", "8-bit black", {WIDTH}, {HEIGHT}, 1);
      roiManager("Open", "{written / "imagej/0.zip"}");
      for (i = roiManager("count") - 1; i >= 0; i--) {{
        roiManager("select", i); getSelectionBounds(x, y, width, height);
        if (width == 10 && height == 1) {{ roiManager("delete"); }}
        else if (width == 6 && height == 4) {{
          setKeyDown("alt"); makeRectangle(4, 37, 2, 2); roiManager("update"); setKeyDown("none");
        }}
      }}
      makeRectangle(42, 42, 3, 4); roiManager("Add");
      makeSelection("freehand", newArray(30, 34, 34, 30), newArray(41, 41, 45, 45)); roiManager("Add");
      makeSelection("traced", newArray(20, 25, 25, 20), newArray(41, 41, 43, 43)); roiManager("Add");
      makePolygon(10, 42, 14, 42, 14, 46, 10, 46); roiManager("Add");
      roiManager("deselect"); roiManager("Save", "{tmp_path / "0.zip"}");
    """
    run_imagej(tmp_path, macro)
    expected = WHOLE["0.png"].copy()
    expected[0, 20:30] = expected[37:39, 4:6] = False
    expected[42:46, 42:45] = expected[41:45, 30:34] = expected[41:43, 20:25] = expected[42:46, 10:14] = True
    assert np.array_equal(read_given(tmp_path / "0.zip", ("0.png",))["0.png"], expected)


BOW_TIE = [[2, 2], [12, 12], [12, 2], [2, 12], [2, 2]]
TWICE_AROUND = [[2, 2], [12, 2], [12, 12], [2, 12], [2, 2], [12, 2], [12, 12], [2, 12], [2, 2]]
LOOP = [[2, 2], [20, 2], [20, 12], [8, 12], [8, 8], [12, 8], [12, 16], [2, 16], [2, 2]]


@pytest.mark.parametrize("ring", [BOW_TIE, TWICE_AROUND, LOOP])
def test_an_outline_that_crosses_itself_is_refused_in_every_form(tmp_path, ring):
    complaint = r"\(2, 2\) crosses itself; redraw it"
    with pytest.raises(InputError, match=rf"a\.geojson, features\.0: the outline from {complaint}"):
        read_given(write_geojson(tmp_path, feature([ring])))
    roiwrite(tmp_path / "a.zip", ImagejRoi.frompoints(ring, name="island 7"))
    with pytest.raises(InputError, match=rf"a\.zip, island 7: the outline from {complaint}"):
        read_given(tmp_path / "a.zip")
    coco = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "segmentation": [np.ravel(ring).tolist()]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match=rf"coco\.json, annotations\.0: the outline from {complaint}"):
        read_given(tmp_path / "coco.json")


def test_loops_without_a_pixel_center_and_slits_do_not_matter(tmp_path):
    loop = [[2, 2], [12, 2], [12, 12], [6.1, 12], [6.4, 12.3], [6.4, 11.9], [2, 12], [2, 2]]
    slit = [[2, 2], [5, 5], [8, 5], [8, 8], [5, 8], [5, 5], [2, 2], [2, 12], [12, 12], [12, 2], [2, 2]]
    assert read_given(write_geojson(tmp_path, feature([loop])))["a.png"].sum() == 100
    assert read_given(write_geojson(tmp_path, feature([slit])))["a.png"].sum() == 91


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (feature([square(60, 2, 4)]), r"features\.0: the polygon lies outside a\.png, which has 50 x 48 pixels"),
        (
            {"type": "FeatureCollection", "features": [], "width": 50, "height": 60},
            r"a\.geojson: the annotated image has 50 x 60 pixels, its micrograph 50 x 48",
        ),
        (
            {"type": "FeatureCollection", "features": [], "image": "b.png"},
            r"the image in it means b\.png, the file",
        ),
        (feature([[2, 2], [4, 4]], "LineString"), r"features\.0: has no polygon"),
        (feature([[[2], [4], [5]]]), r"features\.0: .*Expected two or three coordinates.*; export it again"),
        ({"type": "Feature"}, r"features\.0\.geometry: Field required; export it again"),
        ([feature([[[0.1, 0.1], [0.5, 0.1], [0.5, 0.9], [0.1, 0.1]]])], "fractions of the width and"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, content, complaint):
    with pytest.raises(InputError, match=complaint):
        read_given(write_geojson(tmp_path, content), ("a.png", "b.png"))


def test_outlines_of_a_micrograph_that_is_not_there_are_refused(written):
    names = [name for name in MASKS if name != "2.png"]
    for form, message in (
        ("labelme", r"labelme/2\.json: there is no micrograph 2\.png; put it there"),
        ("geojson", r"geojson/2\.geojson: there is no micrograph 2\.png; put it there"),
        ("imagej", r"imagej/2\.zip: there is no micrograph 2; put it there"),
        ("coco", r"coco\.json, annotations\.\d+: 2\.png is annotated, but there is no such image"),
    ):
        with pytest.raises(InputError, match=message):
            read_given(written / FORMS[form], names)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a ROI set of ImageJ"),
        (b"PK\x03\x04 broken", "not a ROI set of ImageJ"),
    ],
)
def test_damaged_roi_sets_are_refused(tmp_path, content, complaint):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.zip: {complaint} \(.*\); save the selections again"):
        read_given(tmp_path / "a.zip")
    (tmp_path / "a.roi").write_bytes(content + POLYGON.tobytes()[:70])
    with pytest.raises(InputError, match=rf"a\.roi: {complaint}"):
        read_given(tmp_path / "a.roi")


def test_a_line_has_no_area_and_is_named(tmp_path):
    roiwrite(tmp_path / "a.zip", LINE)
    with pytest.raises(InputError, match=r"a\.zip, my line: has no polygon"):
        read_given(tmp_path)


def test_another_json_file_among_them_is_refused(written, tmp_path):
    shutil.copy(written / "geojson/0.geojson", tmp_path)
    shutil.copy(written / "coco.json", tmp_path)
    with pytest.raises(InputError, match=r"coco\.json: not a file of LabelMe, QuPath or ImageJ like the others"):
        read_given(tmp_path, MASKS)
