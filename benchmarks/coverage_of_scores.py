"""How often intervals contain the true score, and how often a statement is made where nothing differs.

python benchmarks/coverage_of_scores.py --draws 2000

Prints the tables of docs/explanation/scores-and-intervals.md. Every draw is a data set of which the truth is
known; the same seeds give the same tables. The default takes about a minute.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from microseg.evaluation.intervals import (
    CONFIDENCE,
    FRACTION,
    FRACTION_DIFFERENCE,
    Interval,
    difference_interval,
    estimate_fraction,
    ratio_interval,
)
from microseg.experiments.comparison import Micrographs
from microseg.experiments.crossings import chance_of_lead, holm
from microseg.experiments.review import seed_noise

Values = NDArray[np.float64]
Generator = np.random.Generator

UNITS = (3, 4, 5, 8, 15, 40)
GROUPS = (2, 3, 4, 5, 8, 15)
MICROGRAPHS_OF_A_GROUP = 8
BETWEEN_GROUPS, WITHIN_GROUPS = 0.5, 0.5
"""Standard deviations of the logit of the IoU."""


@dataclass(frozen=True)
class Sample:
    """Numerators and denominators of a score, one for each micrograph, and their groups."""

    numerators: Values
    denominators: Values
    groups: list[str] | None = None


@dataclass(frozen=True)
class Scenario:
    """How samples of so many units are drawn, and the true score."""

    draw: Callable[[Generator, int], Sample]
    truth: float


def mean_of(first: float, second: float) -> Scenario:
    """Return the mean of scores that have a beta distribution."""
    return Scenario(
        lambda random, units: Sample(random.beta(first, second, units), np.ones(units)), first / (first + second)
    )


def pooled(random: Generator, units: int) -> Sample:
    """Draw scores of micrographs whose unions vary by a factor of three either way."""
    union = random.lognormal(7, 1, units)
    return Sample(union * random.beta(4, 1.5, units), union)


def unequal_groups(random: Generator, units: int) -> Sample:
    """Draw scores in groups of 1 to some 40 micrographs, whose logits vary between groups as much as within."""
    sizes = np.ceil(random.lognormal(1.5, 1, units)).astype(int)
    groups = np.repeat(np.arange(units), sizes)
    logits = 1.5 + random.normal(0, BETWEEN_GROUPS, units)[groups] + random.normal(0, WITHIN_GROUPS, groups.size)
    return Sample(expit(logits), np.ones(groups.size), [str(group) for group in groups])


def failing(fraction: float) -> Scenario:
    """Return the mean of good scores of which a fraction is 0."""

    def draw(random: Generator, units: int) -> Sample:
        good = random.beta(30, 1, units) * (random.random(units) >= fraction)
        return Sample(good, np.ones(units))

    return Scenario(draw, (1 - fraction) * 30 / 31)


def expected_in_groups() -> float:
    """Return the mean of `unequal_groups` by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = np.hypot(BETWEEN_GROUPS, WITHIN_GROUPS)
    return float(weights @ expit(1.5 + spread * nodes) / weights.sum())


SCENARIOS: Mapping[str, Scenario] = {
    "mean IoU, 0.73": mean_of(4, 1.5),
    "mean IoU, 0.97": mean_of(30, 1),
    "pooled IoU, 0.73": Scenario(pooled, 4 / 5.5),
    "mean IoU over groups of unequal size, 0.80": Scenario(unequal_groups, expected_in_groups()),
}
FAILURES: Mapping[str, Scenario] = {
    f"{fraction:.0%} of micrographs at 0": failing(fraction) for fraction in (0.02, 0.05)
}


def coverage(scenario: Scenario, units: int, draws: int) -> float:
    """Return how often the interval of a mean or ratio contains the truth, where there is one."""
    random = np.random.default_rng(units)
    samples = (scenario.draw(random, units) for _ in range(draws))
    found = [
        ratio_interval(one.numerators, one.denominators, groups=one.groups, bounds=FRACTION) for one in samples
    ]
    return float(np.mean([_contains(one, scenario.truth) for one in found if one]))


def coverage_of_fraction_zero(fraction: float, units: int, draws: int) -> float:
    """Return how often the interval of the fraction of failures contains the truth."""
    random = np.random.default_rng(units)
    found = [estimate_fraction(random.random(units) < fraction).interval for _ in range(draws)]
    return float(np.mean([_contains(one, fraction) for one in found if one]))


def _contains(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def equal_experiments(random: Generator, groups: int) -> tuple[Values, Values, list[str]]:
    """Draw the IoU of two experiments alike, whose differences are more of the group than of the micrograph."""
    names = [f"steel {number}" for number in range(groups) for _ in range(MICROGRAPHS_OF_A_GROUP)]
    one = random.uniform(0.4, 0.9, len(names))
    shift = np.repeat(random.normal(0, 0.03, groups), MICROGRAPHS_OF_A_GROUP) + random.normal(0, 0.01, len(names))
    return one, one + shift, names


def false_verdicts(groups: int, draws: int) -> float:
    """Return how often `microseg compare` calls one of two experiments alike better or worse."""
    random = np.random.default_rng(groups)
    wrong = 0
    for _ in range(draws):
        one, other, names = equal_experiments(random, groups)
        ones = np.ones_like(one)
        found = difference_interval((other, ones), (one, ones), groups=names, bounds=FRACTION_DIFFERENCE)
        wrong += found is not None and not found.low <= 0 <= found.high
    return wrong / draws


def equal_methods(random: Generator, seeds: int, values: int = 4, micrographs: int = 20) -> Iterator[Values]:
    """Yield the leads (seeds, micrographs) of a method over its equal at each value of a parameter."""
    for _ in range(values):
        shapes = ((seeds, 1), (1, micrographs), (seeds, micrographs))
        yield np.asarray(sum(random.normal(0, 0.02, shape) for shape in shapes))


def false_reports(seeds: int, draws: int) -> float:
    """Return how many reports of `microseg experiments --x` say that one of two equal methods is ahead."""
    random = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(draws):
        chances = []
        for leads in equal_methods(random, seeds):
            nothing = [0.0] * leads.shape[1]
            tested = [
                Micrographs({"sigmoid": one.tolist(), "morphology": nothing}, [""] * len(nothing)) for one in leads
            ]
            chances.append(chance_of_lead(leads.mean(axis=1), tested))
        wrong += min(holm(chances)) <= 1 - CONFIDENCE
    return wrong / draws


def changed_by_chance(seeds: int, draws: int) -> tuple[float, float]:
    """Return how often `microseg review` calls a hard and an easy micrograph changed where only the seed is."""
    random = np.random.default_rng(seeds)
    deviations = np.array([0.1, *[0.005] * 19])
    changed = []
    for _ in range(draws):
        iou = 0.7 + deviations * random.standard_normal((seeds + 2, deviations.size))
        tables = [
            pd.DataFrame({"image": [f"{n:02}.png" for n in range(one.size)], "method": "sigmoid", "iou": one})
            for one in iou[:seeds]
        ]
        limits = [row[5] for row in seed_noise(tables, "")][1:]
        changed.append(np.abs(iou[-1] - iou[-2]) > limits)
    hard, *easy = np.mean(changed, axis=0)
    return float(hard), float(np.mean(easy))


def print_table(head: str, columns: tuple[int, ...], rows: Mapping[str, list[float]]) -> None:
    """Print a Markdown table of fractions."""
    print(f"\n| {head} | {' | '.join(map(str, columns))} |")
    print(f"|---|{'---|' * len(columns)}")
    for name, numbers in rows.items():
        print(f"| {name} | {' | '.join(f'{number:.3f}' for number in numbers)} |", flush=True)


def main() -> None:
    """Read the command line, simulate, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="data sets for each number (default: %(default)s)")
    draws = parser.parse_args().draws
    covered = {name: [coverage(one, units, draws) for units in UNITS] for name, one in SCENARIOS.items()}
    print_table("coverage over so many units", UNITS, covered)
    sizes = (20, 40, 100)
    failures = {name: [coverage(one, units, draws) for units in sizes] for name, one in FAILURES.items()}
    for fraction in (0.02, 0.05):
        failures[f"the fraction at 0 itself, {fraction:.0%}"] = [
            coverage_of_fraction_zero(fraction, units, draws) for units in sizes
        ]
    print_table("coverage over so many micrographs", sizes, failures)
    print_table("compare, so many groups", GROUPS, {"false verdicts": [false_verdicts(n, draws) for n in GROUPS]})
    seeds = (3, 5, 10)
    reports = {"false reports": [false_reports(number, draws // 2) for number in seeds]}
    print_table("experiments --x, so many seeds", seeds, reports)
    chance = [changed_by_chance(number, draws // 4) for number in seeds]
    changed = {"hard micrograph": [hard for hard, _ in chance], "easy micrograph": [easy for _, easy in chance]}
    print_table("review, noise of so many seeds", seeds, changed)


if __name__ == "__main__":
    main()
