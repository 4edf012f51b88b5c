"""How often the interval of a corrected mean contains the true value, and that of the predictions alone.

    python benchmarks/coverage_of_corrections.py

Specimens of n fields are drawn. The area fraction of a field has a gamma distribution; the model finds too much of
it by its bias, and errs by a fifth in a single field. Of the n fields m are corrected, drawn at random. A table is
printed as Markdown: coverage of the corrected mean and, after the comma, of the interval of the n predictions.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from microseg.evaluation.intervals import FRACTION, ratio_interval
from microseg.measurement.difference_estimator import difference_estimate

MEAN, VARIATION = 0.1, 0.4
"""Mean area fraction of the specimen, and its standard deviation between fields by the mean."""
ERROR, MISSING = 0.2, 0.8
"""Standard deviation of the relative error of a field, and what is missed in fields where the model fails."""
FIELDS, CORRECTED, BIASES = (20, 50, 100), (5, 10, 20), (0.0, 0.1, 0.3)


def specimen(
    rng: np.random.Generator, fields: int, bias: float, failures: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the true and the predicted area fraction of each field, (fields,)."""
    true = rng.gamma(VARIATION**-2, MEAN * VARIATION**2, fields)
    factor = 1 + bias + ERROR * rng.standard_normal(fields)
    return true, true * np.where(rng.random(fields) < failures, 1 - MISSING, factor)


def coverage(fields: int, corrected: int, bias: float, failures: float, specimens: int) -> tuple[float, float]:
    """Return the coverage of the corrected mean and that of the predictions alone."""
    rng = np.random.default_rng(fields + corrected)
    hits = np.zeros(2)
    for _ in range(specimens):
        true, predicted = specimen(rng, fields, bias, failures)
        differences = np.full(fields, np.nan)
        chosen = rng.permutation(fields)[:corrected]
        differences[chosen] = (true - predicted)[chosen]
        found, alone = (
            difference_estimate(predicted, differences),
            ratio_interval(predicted, np.ones_like(predicted), bounds=FRACTION),
        )
        hits += [one is not None and one.low <= MEAN <= one.high for one in (found, alone)]
    covered, covered_alone = hits / specimens
    return float(covered), float(covered_alone)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specimens", type=int, default=2000, help="specimens of each kind (default: 2000)")
    parser.add_argument("--failures", type=float, default=0, help="fraction of fields that the model misses")
    args = parser.parse_args()
    print(f"| fields | corrected | {' | '.join(f'bias {bias:.0%}' for bias in BIASES)} |")
    print("|" + "---|" * (2 + len(BIASES)))
    for fields in FIELDS:
        for corrected in CORRECTED:
            found = [coverage(fields, corrected, bias, args.failures, args.specimens) for bias in BIASES]
            print(f"| {fields} | {corrected} | {' | '.join(f'{one:.3f}, {alone:.3f}' for one, alone in found)} |")


if __name__ == "__main__":
    main()
