"""Pixel sizes as text, and which of several sources counts."""

import pytest

from microseg.common.errors import InputError
from microseg.micrographs.pixel_size import PixelSize, choose, parse_pixel_size


@pytest.mark.parametrize(
    ("text", "micrometres"),
    [
        ("0.05um", 0.05),
        ("50 nm", 0.05),
        ("0,05\N{MICRO SIGN}m", 0.05),
        ("0,125um", 0.125),
        ("5e-8 m", 0.05),
        ("0.002 mm", 2),
        ("50 nanometers", 0.05),
        ("0.05 Microns", 0.05),
        ("0.05 \N{GREEK SMALL LETTER MU}m", 0.05),
        ("0.05 micrometre", 0.05),
        ("500 \N{LATIN CAPITAL LETTER A WITH RING ABOVE}", 0.05),
        ("500 \N{ANGSTROM SIGN}", 0.05),
        ("500 Angstroms", 0.05),
    ],
)
def test_a_length_with_its_unit(text, micrometres):
    size = parse_pixel_size(text)
    assert size.micrometres == pytest.approx(micrometres)
    assert size.source == "--pixel-size"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.05 parsec", "--pixel-size: unknown unit 'parsec'; give nm, um, mm or another unit of length"),
        ("0um", "--pixel-size: a pixel size cannot be 0 um; give a number above 0"),
        ("nan um", "a pixel size cannot be nan um"),
        ("-1um", "a pixel size cannot be -1 um"),
        ("0.05", "'0.05' is not a length; give a number and a unit, such as 0.05um"),
        ("1.2.3um", "'1.2.3' is not a number"),
        ("1,000nm", "--pixel-size: '1,000' may mean 1000 or 1.000; write one of them"),
        ("12,345 nm", "may mean 12345 or 12.345"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(InputError) as caught:
        parse_pixel_size(text)
    assert message in str(caught.value)


def test_the_first_source_counts_and_may_differ_from_the_next_by_one_percent():
    option, file = PixelSize(0.05, "--pixel-size"), PixelSize(0.0504, "FEI header")
    assert choose("a.tif", [None, option, file]) == option
    assert choose("a.tif", [None, None]) is None
    with pytest.raises(InputError) as caught:
        choose("a.tif", [option, None, PixelSize(0.06, "FEI header")])
    assert "a.tif: --pixel-size says 0.05 um per pixel, but FEI header 0.06 um" in str(caught.value)


def test_what_the_user_says_overrides_an_image_program():
    option, tags = PixelSize(0.05, "--pixel-size"), PixelSize(84.7, "ImageJ header", by_image_program=True)
    assert choose("a.tif", [option, None, tags]) == option
    assert choose("a.tif", [None, None, tags]) == tags
