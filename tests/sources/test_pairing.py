"""Names of annotation files are matched with micrographs, and their sizes checked, in one way for every form."""

import pytest

from microseg.common.errors import InputError
from microseg.sources.pairing import Micrographs

NAMES = [
    "IMG_0001.png",
    "8_heat-42.tif.png",
    "Fe-0.1\u00b5m.tif",
    "cb0618f6-other.png",
    "1_twice.png",
    "2_twice.png",
    "heat 7 b.png",
]


@pytest.fixture
def micrographs():
    return Micrographs(dict.fromkeys(NAMES, (768, 1024)), {name: name for name in NAMES}, dict.fromkeys(NAMES, 66))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("IMG_0001.png", NAMES[0]),
        ("C:\\data\\IMG_0001.png", NAMES[0]),
        ("images/1/IMG_0001.tif", NAMES[0]),
        ("img_0001.PNG", NAMES[0]),
        ("cb0618f6-IMG_0001.png", NAMES[0]),
        ("/data/local-files/?d=steel/IMG_0001.png", NAMES[0]),
        ("/data/local-files/?d=steel%2FIMG_0001.png", NAMES[0]),
        ("heat-42.tif", NAMES[1]),
        ("heat-42.png", NAMES[1]),
        ("Fe-0.1\u03bcm.png", NAMES[2]),  # the Greek letter for the sign of the prefix micro
        ("other.png", NAMES[3]),
        ("2_twice.jpg", NAMES[5]),
        ("upload/3/0a1b2c3d-heat_7_b.png", NAMES[6]),
        ("heat%207%20b.png", NAMES[6]),
    ],
)
def test_a_name_finds_its_micrograph(micrographs, written, name):
    assert micrographs.find(written, "a.json") == name


# A number in front is ignored on one side only: 7_heat-42 is another micrograph than 8_heat-42.
@pytest.mark.parametrize("written", ["IMG_00011.png", "IMG_0001_b.png", "7_heat-42.png", "42.png", "MG_0001.png"])
def test_another_name_finds_none(micrographs, written):
    assert micrographs.find(written, "a.json") == written


def test_a_name_that_may_mean_two_micrographs_is_refused(micrographs):
    with pytest.raises(InputError, match=r"a\.json: twice\.png may mean 1_twice\.png or 2_twice\.png; rename one"):
        micrographs.find("twice.png", "a.json")


@pytest.mark.parametrize("rows", [702, 703, 768])
def test_an_annotated_image_may_lack_rows_that_are_cut_off(micrographs, rows):
    micrographs.check_size("a:", NAMES[0], (rows, 1024))


def test_the_error_names_the_rows_that_suffice(micrographs):
    complaint = "a: has 1024 x 701 pixels, its micrograph 1024 x 768; .* set download.crop_bottom to 67 or more"
    with pytest.raises(InputError, match=complaint):
        micrographs.check_size("a:", NAMES[0], (701, 1024))


def test_an_image_without_a_micrograph_is_left_to_its_reader(micrographs):
    micrographs.check_size("a:", "missing.png", (1, 1))


@pytest.mark.parametrize("size", [(769, 1024), (768, 1023), (702, 1025)])
def test_other_sizes_are_refused(micrographs, size):
    with pytest.raises(InputError, match="give both the same size"):
        micrographs.check_size("a:", NAMES[0], size)
