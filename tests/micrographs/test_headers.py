"""Headers as microscopes write them, reproduced here with their documented tags and texts."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from microseg.common.errors import InputError
from microseg.micrographs.headers import Header, read_header
from microseg.micrographs.pixel_size import PixelSize

IMAGE = np.full((40, 60), 90, np.uint8)


def write(path, extratags=(), **options):
    # Without a description by tifffile, which other readers would recognize.
    tifffile.imwrite(path, IMAGE, metadata=None, extratags=list(extratags), **options)
    return path


def text_tag(code, text):
    return (code, "s", 0, text, True)


def size_of(path):
    header = read_header(path)
    assert header.pixel_size is not None
    return header.pixel_size.micrometres, header.pixel_size.source


FEI = """[User]\r\nUser=supervisor\r\n[Scan]\r\nInternalScan=true\r\nPixelWidth={width}\r\nPixelHeight={height}\r\n
[Image]\r\nResolutionX=60\r\nResolutionY=34\r\n[PrivateFei]\r\nDatabarHeight=6\r\n"""


@pytest.mark.parametrize("code", [34680, 34682])
def test_fei_in_metres_with_the_height_of_its_bar(tmp_path, code):
    text = FEI.format(width="2.5e-008", height="2.5e-008")
    path = write(tmp_path / "a.tif", [text_tag(code, text)])
    assert size_of(path) == (pytest.approx(0.025), "FEI header, Scan.PixelWidth")
    assert read_header(path).bar_height == 6


def test_an_fei_bar_that_is_cut_off_already_is_not_cut_off_again(tmp_path):
    text = FEI.format(width="2.5e-008", height="2.5e-008").replace("ResolutionY=34", "ResolutionY=40")
    assert read_header(write(tmp_path / "a.tif", [text_tag(34682, text)])).bar_height == 0


def test_an_fei_image_of_another_width_says_nothing_of_its_bar(tmp_path):
    text = FEI.format(width="2.5e-008", height="2.5e-008").replace("ResolutionX=60", "ResolutionX=120")
    assert read_header(write(tmp_path / "a.tif", [text_tag(34682, text)])).bar_height is None


def test_fei_with_an_empty_height_of_its_bar_keeps_its_pixel_size(tmp_path):
    text = (
        FEI.format(width="2.5e-008", height="2.5e-008").split("[Image]")[0] + "[PrivateFei]\r\nDatabarHeight=\r\n"
    )
    path = write(tmp_path / "a.tif", [text_tag(34682, text)])
    assert size_of(path)[0] == pytest.approx(0.025)
    assert read_header(path).bar_height is None


def test_fei_without_the_private_section_has_the_bar_below_the_scanned_rows(tmp_path):
    text = FEI.format(width="2.5e-008", height="2.5e-008").split("[PrivateFei]")[0]
    assert read_header(write(tmp_path / "a.tif", [text_tag(34682, text)])).bar_height == 40 - 34


def test_pixels_that_are_not_square_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", [text_tag(34682, FEI.format(width="2.5e-8", height="3.0e-8"))])
    with pytest.raises(InputError, match=r"a\.tif: FEI header.* says pixels of 0\.025 x 0\.03 um"):
        read_header(path)


@pytest.mark.parametrize(("value", "micrometres"), [("12.5 nm", 0.0125), ("0.25 \N{MICRO SIGN}m", 0.25)])
def test_zeiss_uses_the_image_and_not_the_monitor(tmp_path, value, micrometres):
    monitor = "0\r\n1.0\r\nAP_PIXEL_SIZE\r\nPixel Size = 99.0 nm\r\n"
    content = f"{monitor}AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {value}\r\n".encode("cp1252")
    path = write(tmp_path / "a.tif", [(34118, "B", len(content), content, True)])
    assert size_of(path) == (pytest.approx(micrometres), "Zeiss header, ap_image_pixel_size")


def test_zeiss_of_an_older_version_has_one_size(tmp_path):
    content = b"0\r\nAP_PIXEL_SIZE\r\nPixel Size = 99.0 nm\r\n"
    path = write(tmp_path / "a.tif", [(34118, "B", len(content), content, True)])
    assert size_of(path) == (pytest.approx(0.099), "Zeiss header, ap_pixel_size")


def test_olympus_sis(tmp_path):
    head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 0, 0, 1, 0, 120, b"SEM", 1)
    content = head + struct.pack("<hhI", 1, 1, 0xDEAD)
    path = write(tmp_path / "a.tif", [(33560, "B", len(content), content, True)])
    # The entries of the block point to offsets in the file: the general data are at its end.
    general = struct.pack("<10xhdd8xd2x34s32s", -9, 40.0, 40.0, 5000.0, b"camera", b"picture").ljust(220, b"\0")
    data = path.read_bytes().replace(
        struct.pack("<hhI", 1, 1, 0xDEAD), struct.pack("<hhI", 1, 1, path.stat().st_size)
    )
    path.write_bytes(data + general)
    assert size_of(path) == (pytest.approx(0.04), "Olympus SIS header, pixelsizex")


TESCAN = "[MAIN]\r\nDevice=MIRA3\r\nPixelSizeX={size}\r\nPixelSizeY={size}\r\n[SEM]\r\nHV=20000\r\n"


def test_tescan_in_its_tag(tmp_path):
    content = b"\x01\x02\x00\x00\r\n" + TESCAN.format(size="3.2e-008").encode()
    path = write(tmp_path / "a.tif", [(50431, "B", len(content), content, True)])
    assert size_of(path) == (pytest.approx(0.032), "TESCAN header, PixelSizeX")


@pytest.mark.parametrize(
    ("image", "header"), [("a.tif", "a.hdr"), ("a.tif", "a-tif.hdr"), ("a.png", "a-png.hdr"), ("a.jpg", "a.hdr")]
)
def test_tescan_beside_the_image(tmp_path, image, header):
    Image.fromarray(IMAGE).save(tmp_path / image)
    (tmp_path / header).write_text(TESCAN.format(size="3.2e-008"), newline="")
    assert size_of(tmp_path / image) == (pytest.approx(0.032), f"{header}, PixelSizeX")


@pytest.mark.parametrize("size", ["1.2e-", "e", "1.2.3e-8", "1e-8e-8", "1e999", "-1e-8", "nan", "\x00\xff"])
def test_a_damaged_tescan_file_states_nothing(tmp_path, size):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    (tmp_path / "a.hdr").write_bytes(TESCAN.format(size=size).encode("latin-1"))
    assert read_header(tmp_path / "a.png").pixel_size is None


JEOL = "$CM_FORMAT JEOL-SEM\r\n$$SM_MICRON_BAR 101\r\n$$SM_MICRON_MARKER 100um\r\n$CM_FULL_SIZE 60 34\r\n"
HITACHI = "[SemImageFile]\r\nInstructName=SU5000\r\nDataSize=60x40\r\nPixelSize=24.8\r\n"


def beside(folder, text, encoding="latin-1"):
    Image.fromarray(IMAGE).save(folder / "a.bmp")
    (folder / "a.txt").write_bytes(text.encode(encoding))
    return read_header(folder / "a.bmp")


def test_jeol_has_its_scale_and_the_rows_above_the_bar_beside_the_image(tmp_path):
    header = beside(tmp_path, JEOL)
    assert header.pixel_size == PixelSize(pytest.approx(100 / 101), "a.txt, SM_MICRON_BAR")
    assert header.bar_height == 40 - 34


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_hitachi_in_nanometres(tmp_path, encoding):
    assert beside(tmp_path, HITACHI, encoding).pixel_size == PixelSize(pytest.approx(0.0248), "a.txt, PixelSize")


@pytest.mark.parametrize(
    ("text", "magnification"),
    [(JEOL + "$CM_MAG 5000\r\n", 5000), (HITACHI + "Magnification=1200\r\n", 1200), (JEOL, None)],
)
def test_the_magnification_beside_an_image(tmp_path, text, magnification):
    assert beside(tmp_path, text).magnification == magnification


@pytest.mark.parametrize(("stated", "magnification"), [("105 X", 105), ("2.00 K X", 2000), ("12.5 KX", 12500)])
def test_the_magnification_of_zeiss(tmp_path, stated, magnification):
    content = f"0\r\n1.0\r\nAP_MAG\r\nMag = {stated}\r\n".encode("cp1252")
    path = write(tmp_path / "a.tif", [(34118, "B", len(content), content, True)])
    assert read_header(path).magnification == magnification


def test_the_magnification_of_tescan(tmp_path):
    content = b"[MAIN]\r\nMagnification=2500.0\r\n"
    path = write(tmp_path / "a.tif", [(50431, "B", len(content), content, True)])
    assert read_header(path).magnification == 2500


@pytest.mark.parametrize(
    "text", ["my notes: PixelSize=3", JEOL.replace(" 60 ", " 120 "), HITACHI.replace("60x", "120x"), HITACHI[:60]]
)
def test_other_texts_and_those_of_an_image_of_another_size_state_nothing(tmp_path, text):
    assert beside(tmp_path, text) == Header()


@pytest.mark.parametrize(
    ("unit", "micrometres"),
    [
        *[("um", 0.1), ("micron", 0.1), ("\\u00B5m", 0.1), ("nm", 1e-4)],
        *[("micrometer", 0.1), ("Microns", 0.1), ("nanometers", 1e-4)],
    ],
)
def test_imagej(tmp_path, unit, micrometres):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(10, 10), metadata={"unit": unit})
    assert size_of(tmp_path / "a.tif") == (pytest.approx(micrometres), "ImageJ header, unit and XResolution")


@pytest.mark.parametrize(("unit", "dots"), [("inch", 300), ("cm", 118.11), ("inches", 72)])
def test_the_dots_per_inch_of_a_printer_are_no_scale(tmp_path, unit, dots):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(dots, dots), metadata={"unit": unit})
    assert read_header(tmp_path / "a.tif").pixel_size is None


def test_a_scale_in_centimetres_counts_where_it_suits_a_micrograph(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", IMAGE, imagej=True, resolution=(200_000, 200_000), metadata={"unit": "cm"}
    )
    assert size_of(tmp_path / "a.tif")[0] == pytest.approx(0.05)


def test_a_scale_in_an_unknown_unit_is_warned_of(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(10, 10), metadata={"unit": "furlong"})
    header = read_header(tmp_path / "a.tif")
    assert header.pixel_size is None
    assert "scale in the unit 'furlong', which is not known; give --pixel-size" in header.warning


def test_imagej_without_a_unit_of_length_has_no_scale(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(1, 1), metadata={"unit": "pixel"})
    assert read_header(tmp_path / "a.tif") == Header()


@pytest.mark.parametrize(
    ("unit", "micrometres"),
    [
        ({}, 0.3),
        ({"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"}, 3e-4),
        ({"PhysicalSizeXUnit": "\N{ANGSTROM SIGN}", "PhysicalSizeYUnit": "\N{ANGSTROM SIGN}"}, 3e-5),
    ],
)
def test_ome(tmp_path, unit, micrometres):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3, **unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGE, ome=True, metadata=metadata)
    assert size_of(tmp_path / "a.ome.tif") == (pytest.approx(micrometres), "OME header, PhysicalSizeX")


@pytest.mark.parametrize(
    ("resolution", "unit", "micrometres"),
    [
        ((200000, 200000), "CENTIMETER", 0.05),
        ((508000, 508000), "INCH", 0.05),
        ((300, 300), "INCH", None),
        ((10, 10), "NONE", None),
    ],
)
def test_resolution_tags_count_if_their_unit_and_size_suit_a_micrograph(tmp_path, resolution, unit, micrometres):
    path = write(tmp_path / "a.tif", resolution=resolution, resolutionunit=unit)
    if micrometres is None:
        assert read_header(path).pixel_size is None
    else:
        assert size_of(path) == (pytest.approx(micrometres), "TIFF tag XResolution")


def test_the_microscope_takes_priority_over_the_resolution_tags(tmp_path):
    text = FEI.format(width="2.5e-008", height="2.5e-008")
    path = write(tmp_path / "a.tif", [text_tag(34682, text)], resolution=(1e5, 1e5), resolutionunit="CENTIMETER")
    assert size_of(path)[0] == pytest.approx(0.025)


@pytest.mark.parametrize("content", ["PixelWidth", "[Scan]\nPixelWidth=wide", "[Scan]\nPixelWidth=0"])
def test_a_malformed_header_states_nothing(tmp_path, content):
    assert read_header(write(tmp_path / "a.tif", [text_tag(34682, content)])).pixel_size is None


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_other_images_state_nothing(tmp_path, name):
    Image.fromarray(IMAGE).save(tmp_path / name, dpi=(300, 300))
    assert read_header(tmp_path / name) == Header()
