import pytest

from microseg.measurement.formatting import column_name, to_units

PIXELS = {"area_fraction": 0.2, "mean_area_um2": 50.0, "mean_free_path_um": 8.0, "number_per_mm2": 0.004}


def test_pixels_become_micrometres_and_millimetres():
    # A pixel of 0.5 micrometres: 0.25 square micrometres, and 4 million of them in a square millimetre.
    values = to_units(PIXELS | {"boundary_per_mm": 0.1}, 0.5)
    assert values == pytest.approx(
        {
            "area_fraction": 0.2,
            "mean_area_um2": 12.5,
            "mean_free_path_um": 4.0,
            "number_per_mm2": 16000.0,
            "boundary_per_mm": 200.0,
        }
    )


def test_without_a_scale_the_names_say_pixels():
    assert to_units(PIXELS, None) == {
        "area_fraction": 0.2,
        "mean_area_px2": 50.0,
        "mean_free_path_px": 8.0,
        "number_per_px2": 0.004,
    }
    assert column_name("interceptions_per_mm", scaled=False) == "interceptions_per_px"
    assert column_name("interceptions_per_mm", scaled=True) == "interceptions_per_mm"
