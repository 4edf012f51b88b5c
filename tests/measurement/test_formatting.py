import pytest

from microseg.measurement.formatting import MINUS, column_name, number, plus_minus, to_units

TIMES = "\N{MULTIPLICATION SIGN}"

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


def test_without_a_scale_columns_are_named_for_pixels():
    assert to_units(PIXELS, None) == {
        "area_fraction": 0.2,
        "mean_area_px2": 50.0,
        "mean_free_path_px": 8.0,
        "number_per_px2": 0.004,
    }
    assert column_name("interceptions_per_mm", scaled=False) == "interceptions_per_px"
    assert column_name("interceptions_per_mm", scaled=True) == "interceptions_per_mm"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12.345, "12.3"),
        (0.01234, "0.0123"),
        (123456, "123456"),
        (0.00001234, f"1.23 {TIMES} 10⁻⁵"),
        (-12345678, f"{MINUS}1.23 {TIMES} 10⁷"),
        (-2.5, f"{MINUS}2.50"),
        (float("nan"), "\N{EN DASH}"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("mean", "interval", "text"),
    [
        (12010, 4252, "12000 ± 4300"),
        (7.861, 2.481, "7.9 ± 2.5"),
        (0.01234, 0.00123, "0.0123 ± 0.0012"),
        (5, 0, "5.00 ± 0"),
        (8.151e-5, 6.6e-6, f"(8.15 ± 0.66) {TIMES} 10⁻⁵"),
        (1.6e-4, 1.2e-3, f"(2 ± 12) {TIMES} 10⁻⁴"),
    ],
)
def test_a_mean_is_rounded_as_its_interval(mean, interval, text):
    assert plus_minus(mean, interval) == text


def test_a_mean_without_an_interval_stands_alone():
    assert plus_minus(12.345, float("nan")) == "12.3"
