"""Outlines for other tools: filled by the rule of each tool, they are the mask again, pixel by pixel."""

import json
import zipfile

import numpy as np
import pytest
import shapely
from PIL import Image
from pycocotools.coco import COCO
from roifile import roiread

from microseg.common.errors import InputError
from microseg.measurement.outlines import FORMATS, parse_formats
from microseg.measurement.run import run

from outline_files import SIZE, awkward_masks, fill_like_labelme, run_imagej, write_outlines_of

BAR = 8
MASKS = awkward_masks()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The outlines of all masks, of micrographs with an information bar below the mask."""
    folder = tmp_path_factory.mktemp("outlines")
    write_outlines_of(folder, MASKS, BAR)
    return folder / "results/outlines"


def whole(mask):
    return np.pad(mask, ((0, BAR), (0, 0)))


def inside(geometry, height, width):
    """Return which pixel centers lie in a geometry; none lies on an edge."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return shapely.contains_xy(geometry, columns, rows)


def test_pycocotools_draws_the_masks(folder):
    coco = COCO(folder / "coco.json")
    for number, mask in enumerate(MASKS):
        image = coco.imgs[number + 1]
        assert (image["file_name"], image["height"], image["width"]) == (f"{number}.png", SIZE[0] + BAR, SIZE[1])
        drawn = np.zeros((SIZE[0] + BAR, SIZE[1]), int)
        for annotation in coco.imgToAnns[number + 1]:
            island = coco.annToMask(annotation)
            rows, columns = np.nonzero(island)
            assert island.sum() == annotation["area"]
            low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
            assert annotation["bbox"] == [*low, *np.subtract(high, low)]
            drawn += island
        assert np.array_equal(drawn, whole(mask))  # islands do not overlap either


def test_labelme_draws_the_masks_in_its_window_and_by_its_programs(folder):
    for number, mask in enumerate(MASKS):
        content = json.loads((folder / f"labelme/{number}.json").read_text())
        size = (content["imageHeight"], content["imageWidth"])
        assert size == (SIZE[0] + BAR, SIZE[1])
        by_programs, in_window = np.zeros(size, bool), np.zeros(size, bool)
        for shape in content["shapes"]:
            by_programs |= fill_like_labelme(shape, size)
            in_window |= inside(shapely.Polygon(shape["points"]), *size)
        assert np.array_equal(by_programs, whole(mask))
        assert np.array_equal(in_window, whole(mask))


def test_labelme_finds_the_micrograph_and_the_pieces_of_an_island(folder):
    content = json.loads((folder / "labelme/0.json").read_text())
    found = (folder / "labelme" / content["imagePath"]).resolve()
    assert found == (folder.parent.parent / "micrographs/0.png").resolve()
    assert not content["imagePath"].startswith("/")
    islands = [shape["group_id"] for shape in content["shapes"]]
    assert len(set(islands)) == 9
    assert len(islands) > 9  # the two with holes are cut


def test_geojson_holds_valid_polygons_with_holes(folder):
    for number, mask in enumerate(MASKS):
        content = json.loads((folder / f"geojson/{number}.geojson").read_text())
        assert content["type"] == "FeatureCollection"
        islands = [shapely.from_geojson(json.dumps(one["geometry"])) for one in content["features"]]
        assert all(island.is_valid for island in islands)
        drawn = sum(
            (inside(one, SIZE[0] + BAR, SIZE[1]).astype(int) for one in islands), np.zeros(whole(mask).shape)
        )
        assert np.array_equal(drawn, whole(mask))
        assert {one["properties"]["objectType"] for one in content["features"]} <= {"annotation"}
    first = json.loads((folder / "geojson/0.geojson").read_text())["features"]
    holes = {one["properties"]["name"]: len(one["geometry"]["coordinates"]) - 1 for one in first}
    assert sorted(holes.values())[-2:] == [1, 4]  # holes that meet at a corner are two


def test_roi_sets_hold_an_outline_for_each_island(folder):
    rois = roiread(folder / "imagej/0.zip")
    assert [roi.name for roi in rois] == [str(number) for number in range(1, 10)]
    with zipfile.ZipFile(folder / "imagej/3.zip") as archive:
        assert archive.namelist() == []  # the mask without islands


def test_the_real_imagej_fills_the_rois_to_the_masks(folder, tmp_path):
    fill = """
      setColor(255);
      for (i = 0; i < roiManager("count"); i++) { roiManager("select", i); fill(); }
    """
    with_islands = [number for number, mask in enumerate(MASKS) if mask.any()]
    macro = "".join(
        f"""newImage("", "8-bit black", {SIZE[1]}, {SIZE[0] + BAR}, 1);
        roiManager("reset"); roiManager("Open", "{folder / f"imagej/{number}.zip"}");
        {fill} run("Select None"); saveAs("PNG", "{tmp_path / f"{number}.png"}");"""
        for number in with_islands
    )
    run_imagej(tmp_path, macro)
    for number in with_islands:
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"{number}.png")) == 255, whole(MASKS[number]))


@pytest.mark.parametrize("name", FORMATS)
def test_a_single_format_is_written_alone(tmp_path, name):
    write_outlines_of(tmp_path, MASKS[:1], formats=(name,))
    (tmp_path / "results/outlines/left_by_an_interrupted_run").mkdir()
    write_outlines_of(tmp_path, MASKS[:1], formats=(name,))
    assert [path.stem for path in (tmp_path / "results/outlines").iterdir()] == [name]


def test_the_class_has_the_name_of_the_foreground(tmp_path):
    write_outlines_of(tmp_path, MASKS[:1], label="MA")
    outlines = tmp_path / "results/outlines"
    assert COCO(outlines / "coco.json").cats[1]["name"] == "MA"
    shapes = json.loads((outlines / "labelme/0.json").read_text())["shapes"]
    assert {shape["label"] for shape in shapes} == {"MA"}
    features = json.loads((outlines / "geojson/0.geojson").read_text())["features"]
    assert {one["properties"]["classification"]["name"] for one in features} == {"MA"}


def test_a_run_writes_the_formats_that_were_asked_for(request_for):
    request = request_for(outlines=("coco", "geojson"), crop_bottom=32)
    run(request)
    written = {
        path.relative_to(request.output / "outlines").as_posix() for path in request.output.glob("outlines/**/*.*")
    }
    assert written == {"coco.json", *(f"geojson/{stem}.geojson" for stem in "abcde")}
    coco = COCO(request.output / "outlines/coco.json")
    for number, (name, mask) in enumerate(request_for.masks.items(), 1):
        assert (coco.imgs[number]["file_name"], coco.imgs[number]["height"]) == (name, 96)
        islands = sum(coco.annToMask(one) for one in coco.imgToAnns[number])
        assert np.array_equal(islands, mask & (np.arange(96) < 64)[:, None])


def test_without_formats_nothing_is_written(request_for):
    request = request_for()
    run(request)
    assert not (request.output / "outlines").exists()


def test_formats_are_separated_by_commas():
    assert parse_formats("coco, imagej") == ("coco", "imagej")


@pytest.mark.parametrize("text", ["", "coco,", "Coco", "yolo"])
def test_an_unknown_format_is_refused_with_those_there_are(text):
    with pytest.raises(InputError, match=r"^--outlines: .* give some of coco, labelme, geojson, imagej$"):
        parse_formats(text)
