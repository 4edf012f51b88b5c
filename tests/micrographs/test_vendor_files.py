"""Files as microscopes wrote them."""

import numpy as np
import pytest

from microseg.common.errors import InputError
from microseg.micrographs.conversion import read_grey
from microseg.micrographs.headers import read_header


@pytest.fixture
def vendor(shared_data):
    if not (shared_data / "vendor").is_dir():
        pytest.skip("no files of vendors in ../shared/data")
    return shared_data / "vendor"


@pytest.mark.parametrize(
    ("name", "micrometres", "bar", "shape"),
    [
        ("FEI-Helios-Ebeam-8bits.tif", 3.3724, 29, (471, 512)),
        ("FEI-Helios-Ebeam-16bits.tif", 3.3724, 29, (471, 512)),
        ("SEM_Image-SliceImage-001.tif", 0.385417, 0, (1024, 1536)),
        ("fei-sem-rbc.tif", 0.00770833, 70, (1094, 1536)),
        ("test_tiff_Zeiss_SEM_1k.tif", 2.615, None, (768, 1024)),
        ("zeiss_edited_in_photoshop.tif", 0.05582, None, (768, 1024)),
    ],
)
def test_pixel_size_and_bar(vendor, name, micrometres, bar, shape):
    header = read_header(vendor / name)
    assert header.pixel_size.micrometres == pytest.approx(micrometres)
    assert not header.pixel_size.by_image_program
    assert header.bar_height == bar
    assert read_grey(vendor / name).shape == shape


def test_the_same_recording_in_8_and_16_bits_has_the_same_grey(vendor):
    eight, sixteen = (read_grey(vendor / f"FEI-Helios-Ebeam-{bits}bits.tif")[:442] for bits in (8, 16))
    assert np.abs((sixteen >> 8).astype(int) - eight).max() <= 1


def test_two_recordings_in_one_file_are_refused_by_what_they_are(vendor):
    with pytest.raises(InputError, match=r"olympus_SIS\.tif: holds 2 images \(112 x 101, 112 x 101 pixels\)"):
        read_grey(vendor / "olympus_SIS.tif")
