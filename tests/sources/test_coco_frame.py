"""COCO's frame: (0, 0) is the corner of the first pixel. Outlines give the annotated pixels exactly."""

import json

import numpy as np
import pytest
from scipy import ndimage

from microseg.annotations.masks import create_binary_mask
from microseg.annotations.polygons import read_annotations
from microseg.common.errors import InputError
from microseg.sources.coco import decompress_runs, mask_of_runs
from microseg.sources.folder import write_folder
from microseg.sources.outlines import fill_outlines

from dataset_forms import corner_outlines, write_images

SIZE = (40, 50)


def taken_in(folder, segmentations, size=SIZE, crop_bottom=0):
    """Return the mask that the folder source makes of the annotations of one image."""
    if not (folder / "mine").exists():
        write_images(folder / "mine", ["a.png"], size)
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "segmentation": segmentation}
            for number, segmentation in enumerate(segmentations)
        ],
    }
    (folder / "mine" / "annotations.json").write_text(json.dumps(content))
    raw = folder / f"raw_{len(list(folder.iterdir()))}"
    raw.mkdir()
    write_folder(raw, folder / "mine", crop_bottom)
    (mask,) = read_annotations(raw / "annotations.csv")
    return create_binary_mask(mask, size[0] - crop_bottom, size[1])


def blobs(seed, size=SIZE):
    """Draw a random mask of rounded regions, most of them with holes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(size), 2 + seed % 3)
    return np.abs(noise) > np.quantile(np.abs(noise), 0.35)


def test_a_hundred_random_shapes_are_kept(tmp_path):
    masks = [blobs(seed) for seed in range(100)]
    write_images(tmp_path / "mine", [f"{number}.png" for number in range(100)], SIZE)
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(100)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "segmentation": corner_outlines(mask)}
            for number, mask in enumerate(masks)
        ],
    }
    (tmp_path / "mine" / "annotations.json").write_text(json.dumps(content))
    (tmp_path / "raw").mkdir()
    write_folder(tmp_path / "raw", tmp_path / "mine", 0)
    read = {mask.img_name: mask for mask in read_annotations(tmp_path / "raw" / "annotations.csv")}
    assert all(
        np.array_equal(create_binary_mask(read[f"{number}.png"], *SIZE), mask) for number, mask in enumerate(masks)
    )
    assert sum(ndimage.label(mask)[1] > 1 for mask in masks) > 50
    assert sum(bool((ndimage.binary_fill_holes(mask) & ~mask).any()) for mask in masks) > 30


def test_the_masks_of_real_micrographs_are_redrawn(shared_data, tmp_path):
    size = (512, 512)
    annotated = read_annotations(shared_data / "superalloy" / "annotations.csv")
    masks = {mask.img_name: create_binary_mask(mask, *size) for mask in annotated}
    assert len(masks) == 18
    for number, mask in enumerate(masks.values()):
        (tmp_path / str(number)).mkdir()
        assert np.array_equal(taken_in(tmp_path / str(number), [corner_outlines(mask)], size), mask)


# The pixels by hand: those whose center (column + 0.5, row + 0.5) lies inside.
@pytest.mark.parametrize(
    ("outline", "pixels"),
    [
        ([(10, 10), (20, 10), (20, 20), (10, 20)], 100),  # the box of area 100
        ([(10.4, 10.4), (20.4, 10.4), (20.4, 20.4), (10.4, 20.4)], 100),
        ([(10.6, 10), (19.4, 10), (19.4, 20), (10.6, 20)], 80),  # columns 11 to 18
        (
            [(0, 0), (4, 0), (0, 4)],
            6,
        ),  # rows of 3, 2, 1: the diagonal x + y = 4 runs through centers, which count as inside
        ([(0, 0), (50, 0), (50, 40), (0, 40)], 2000),
        ([(-5, -5), (3, -5), (3, 3), (-5, 3)], 9),
    ],
)
def test_pixels_counted_by_hand(tmp_path, outline, pixels):
    assert taken_in(tmp_path, [[np.ravel(outline).tolist()]]).sum() == pixels


def test_two_polygons_that_share_an_edge_share_no_pixel_and_miss_none():
    rng = np.random.default_rng(0)
    for _ in range(50):
        corners = np.array([(0, 0), (30, 0), (30, 30), (0, 30)], float)
        start, end = np.array([rng.uniform(0, 30), 0]), np.array([rng.uniform(0, 30), 30])
        left, _ = fill_outlines([np.array([corners[0], start, end, corners[3]])], 30, 30)
        right, _ = fill_outlines([np.array([start, corners[1], corners[2], end])], 30, 30)
        assert np.array_equal(left, ~right)


def test_parts_of_one_annotation_are_united(tmp_path):
    overlapping = [[0, 0, 10, 0, 10, 10, 0, 10], [5, 0, 15, 0, 15, 10, 5, 10]]
    assert taken_in(tmp_path, [overlapping]).sum() == 150


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def test_a_polygon_inside_another_one_is_a_hole_and_said_to_be_one(tmp_path, caplog):
    mask = taken_in(tmp_path, [[square(8, 8, 4), square(0, 0, 20), square(4, 4, 12)]])
    assert mask.sum() == 400 - 144 + 16  # an island in the hole of another one
    assert not mask[5, 5]
    assert "1 annotations have a polygon inside another one, which is taken for a hole" in caplog.text
    assert "annotations.json, annotations.0" in caplog.text


def test_a_polygon_that_is_listed_twice_is_no_hole(tmp_path, caplog):
    assert taken_in(tmp_path, [[square(0, 0, 20), square(0, 0, 20)]]).sum() == 400
    assert "hole" not in caplog.text


def test_polygons_of_different_annotations_are_united(tmp_path):
    assert taken_in(tmp_path, [[square(0, 0, 20)], [square(4, 4, 12)]]).sum() == 400


def test_fractions_of_the_width_are_refused_by_what_they_are(tmp_path):
    with pytest.raises(
        InputError, match=r"annotations\.json: all coordinates lie between 0 and 1, so they are frac"
    ):
        taken_in(tmp_path, [[[0.1, 0.1, 0.5, 0.1, 0.5, 0.75]], [[0, 0, 1, 0, 1, 1]]])
    assert taken_in(tmp_path, [[[0, 0, 1, 0, 1, 1, 0, 1]]]).sum() == 1


def test_an_annotated_image_may_lack_the_information_bar(tmp_path):
    content = {"images": [{"id": 1, "file_name": "a.png", "height": 32, "width": 50}]}
    content["annotations"] = [
        {"image_id": 1, "segmentation": [square(0, 0, 10)]},
        {"image_id": 1, "segmentation": {"size": [32, 50], "counts": [31, 1, 1568]}},
    ]
    write_images(tmp_path / "mine", ["a.png"], SIZE)
    (tmp_path / "mine" / "annotations.json").write_text(json.dumps(content))
    (tmp_path / "raw").mkdir()
    write_folder(tmp_path / "raw", tmp_path / "mine", 8)
    (mask,) = read_annotations(tmp_path / "raw" / "annotations.csv")
    drawn = create_binary_mask(mask, 32, 50)
    assert drawn.sum() == 101
    assert drawn[31, 0]


def test_the_information_bar_is_cut_off_and_polygons_below_the_image_are_left_to_parse_csv(tmp_path):
    inside, below = [[5, 30, 10, 30, 10, 38, 5, 38]], [[5, 34, 10, 34, 10, 38, 5, 38]]
    assert taken_in(tmp_path, [inside, below], crop_bottom=8)[:, 5:10].sum() == 2 * 5


def test_an_annotation_without_any_pixel_center_is_no_island(tmp_path, caplog):
    speck = [[3.6, 3.6, 4.4, 3.6, 4.4, 4.4, 3.6, 4.4]]
    assert not taken_in(tmp_path, [speck]).any()
    assert "1 annotations contain no pixel center" in caplog.text
    assert "annotations.json, annotations.0" in caplog.text


def runs(mask):
    """Return the lengths of the runs down the columns, the first of the background."""
    values = mask.T.ravel()
    changes = np.flatnonzero(np.diff(values.astype(int))) + 1
    lengths = np.diff([0, *changes, values.size]).tolist()
    return [0, *lengths] if values[0] else lengths


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_kept(tmp_path, seed):
    mask = blobs(seed)
    assert np.array_equal(taken_in(tmp_path, [{"size": list(SIZE), "counts": runs(mask)}]), mask)


def test_compressed_run_lengths_by_hand():
    # A 9 x 10 mask whose pixels 6 and 7 down the first column are foreground: 6 background, 2 foreground, 82 rest.
    # 6 -> "6", 2 -> "2", 82 -> 18 + 2 * 32: 18 with more to follow is chr(48 + 18 + 32) = "b", then 2 is "2".
    assert decompress_runs("62b2") == [6, 2, 82]
    mask = mask_of_runs([6, 2, 82], 9, 10)
    assert np.argwhere(mask).tolist() == [[6, 0], [7, 0]]
    # The fourth is the difference to the second: 1 less, with the sign in the fifth bit: chr(48 + 31).
    assert decompress_runs("62b2" + chr(48 + 31)) == [6, 2, 82, 1]


@pytest.mark.parametrize(
    ("segmentation", "complaint"),
    [
        ({"size": [40, 50], "counts": [5, 5]}, "run lengths of 10 pixels for a mask of 2000"),
        ({"size": [40, 50], "counts": [-5, 2005]}, "run lengths"),
        ({"size": [40, 50], "counts": "6~"}, "'~' in compressed run lengths"),
        ({"size": [40, 50], "counts": "b"}, "break off"),
        ({"size": [50, 40], "counts": [2000]}, "the mask has 40 x 50 pixels, its micrograph 50 x 40"),
        ({"size": [40, 50]}, "counts: Field required"),
    ],
)
def test_damaged_run_lengths_are_refused(tmp_path, segmentation, complaint):
    with pytest.raises(InputError, match=f"annotations.0.*{complaint}"):
        taken_in(tmp_path, [segmentation])


def test_the_helper_outlines_its_mask():
    square = np.zeros((5, 5), bool)
    square[1:4, 1:4] = True
    assert sorted(zip(*[iter(corner_outlines(square)[0])] * 2, strict=True))[0] == (1, 1)
    assert len(corner_outlines(square)[0]) == 2 * 12
