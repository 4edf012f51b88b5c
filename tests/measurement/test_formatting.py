import pytest

from microseg.measurement.formatting import MINUS, column_name, number, to_units, with_interval

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
    ("value", "low", "high", "text"),
    [
        (12.4, 11.52, 13.35, "12.40 (11.52 to 13.35)"),
        (12010, 8450, 17070, "12000 (8400 to 17100)"),
        (0.01234, 0.01111, 0.0137, "0.0123 (0.0111 to 0.0137)"),
        (8.151e-5, 7.49e-5, 8.87e-5, f"8.15 (7.49 to 8.87) {TIMES} 10⁻⁵"),
        (0, 0, 8.812, "0 (below 8.8)"),
    ],
)
def test_a_value_is_rounded_as_its_interval(value, low, high, text):
    assert with_interval(value, low, high) == text


def test_a_value_without_an_interval_stands_alone():
    assert with_interval(12.345, float("nan"), float("nan")) == "12.3"
