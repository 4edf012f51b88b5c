"""How often the intervals of `microseg segment` contain the true value, and how far its estimates are off.

    python benchmarks/coverage_of_quantities.py

Fields with round islands of different sizes are drawn and measured as masks. From a stock of them specimens of a
few fields are drawn again and again; the values of the whole stock are the truth. "Before" are means of the values
of the fields with Student's interval, as they are often taken; "after" is what the program reports. Two tables are
printed as Markdown: coverage of the intervals that are given, and estimates in percent of the true values.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from skimage.measure import label

from microseg.measurement.specimens import summarize
from microseg.measurement.stereology import measure_field

SIDE, MARGIN = 96, 20
"""Side of a field in pixels, and how far outside of it centres of islands lie."""
RADIUS, RADIUS_DEVIATION, LARGEST_RADIUS = 5.0, 0.35, 18.0
"""Mean of the radii in pixels, the standard deviation of their logarithm, and their limit."""
FIELDS = (3, 5, 10, 30)
ISLANDS = (0.5, 1, 2, 5, 20)
QUANTITIES = {
    "area_fraction": "A_A",
    "number_per_mm2": "N_A",
    "interceptions_per_mm": "N_L",
    "mean_area_um2": "mean area",
    "mean_intercept_um": "mean intercept",
    "mean_free_path_um": "mean free path",
}
RATIOS = tuple(QUANTITIES)[3:]
IN_PIXELS = {"per_mm2": "per_px2", "per_mm": "per_px", "um2": "px2", "um": "px"}


def field(rng: np.random.Generator, islands: float, arrangement: str) -> dict[str, float]:
    """Draw a field with so many islands on average, and measure it in pixels."""
    expected = islands * ((SIDE + 2 * MARGIN) / SIDE) ** 2
    if arrangement == "clustered":  # the density itself differs between fields, by 70 %
        expected *= rng.gamma(2, 1 / 2)
    count = rng.poisson(expected)
    radii = np.minimum(rng.lognormal(np.log(RADIUS), RADIUS_DEVIATION, count), LARGEST_RADIUS)
    mask = np.zeros((SIDE, SIDE), bool)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    for radius, (row, column) in zip(radii, rng.uniform(-MARGIN, SIDE + MARGIN, (count, 2)), strict=True):
        mask |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return measure_field(mask, label(mask), "both")


def stock(islands: float, arrangement: str, size: int) -> pd.DataFrame:
    """Return the table of `size` fields, with the columns of a run without a scale."""
    rng = np.random.default_rng(1)
    return pd.DataFrame([field(rng, islands, arrangement) for _ in range(size)]).rename(columns=in_pixels)


def in_pixels(column: str) -> str:
    """Return the name of a column of a run without a scale."""
    unit = next((unit for unit in IN_PIXELS if column.endswith(f"_{unit}")), None)
    return column if unit is None else column.removesuffix(unit) + IN_PIXELS[unit]


def truth(fields: pd.DataFrame) -> dict[str, float]:
    """Return the values of the whole stock: ratios of sums."""
    area, number, crossed = (
        float(fields[name].mean()) for name in ("area_fraction", "number_per_px2", "interceptions_per_px")
    )
    return {
        "area_fraction": area,
        "number_per_mm2": number,
        "interceptions_per_mm": crossed,
        "mean_area_um2": area / number,
        "mean_intercept_um": area / crossed,
        "mean_free_path_um": (1 - area) / crossed,
    }


def student(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of the fields' own values and Student's interval, as the program did it before."""
    defined = values[~np.isnan(values)]
    if len(defined) < 3:
        return (float(defined.mean()) if len(defined) else np.nan), np.nan, np.nan
    half = stdtrit(len(defined) - 1, 0.975) * float(defined.std(ddof=1)) / len(defined) ** 0.5
    return float(defined.mean()), float(defined.mean() - half), float(defined.mean() + half)


def trials(fields: pd.DataFrame, count: int, number: int) -> Iterator[dict[str, Any]]:
    """Yield for each specimen of `count` fields and each quantity its estimates and intervals by both methods."""
    rng = np.random.default_rng(count)
    for _ in range(number):
        drawn = fields.iloc[rng.integers(0, len(fields), count)]
        for quantity in QUANTITIES:
            after = summarize(drawn, quantity, scaled=False)
            if quantity == "number_per_mm2" and not after["mean"]:  # the limit of a specimen without islands
                after |= {"low": np.nan, "high": np.nan}
            mean, low, high = student(drawn[in_pixels(quantity)].to_numpy())
            yield {"quantity": quantity, "method": "before", "mean": mean, "low": low, "high": high}
            yield {
                "quantity": quantity,
                "method": "after",
                **{name: after[name] for name in ("mean", "low", "high")},
            }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrangement", choices=("scattered", "clustered"), default="scattered")
    parser.add_argument("--stock", type=int, default=4000, help="fields that are drawn (default: 4000)")
    parser.add_argument("--specimens", type=int, default=1000, help="specimens of each kind (default: 1000)")
    args = parser.parse_args()
    coverage, estimate = [], []
    for islands in ISLANDS:
        fields = stock(islands, args.arrangement, args.stock)
        true = truth(fields)
        for count in FIELDS:
            table = pd.DataFrame(trials(fields, count, args.specimens))
            table["true"] = table["quantity"].map(true)
            given = table.dropna(subset="low")
            inside = (given["low"] <= given["true"]) & (given["true"] <= given["high"])
            found = inside.groupby([given["quantity"], given["method"]]).mean()
            off = (100 * table["mean"] / table["true"]).groupby([table["quantity"], table["method"]]).mean()
            coverage.append(
                [islands, count, *(f"{found[one, 'before']:.3f}, {found[one, 'after']:.3f}" for one in QUANTITIES)]
            )
            estimate.append(
                [islands, count, *(f"{off[one, 'before']:.0f}, {off[one, 'after']:.0f}" for one in RATIOS)]
            )
    for title, rows, columns in (("Coverage", coverage, QUANTITIES), ("Estimates in percent", estimate, RATIOS)):
        print(f"\n{title}, before and after\n")
        print(f"| islands a field | fields | {' | '.join(QUANTITIES[one] for one in columns)} |")
        print("|" + "---|" * (2 + len(columns)))
        for row in rows:
            print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
