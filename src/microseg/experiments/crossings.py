"""Which of the two methods of post-processing is ahead, and where they cross, as far as noise permits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from microseg.evaluation.intervals import CONFIDENCE, FEWEST_UNITS, holm, standard_error
from microseg.experiments.comparison import Comparison, Micrographs, show
from microseg.prediction.postprocessing import METHODS

FIRST, SECOND = METHODS
LEAST_CHANCE = 1e-9
"""Smaller p-values are not distinguished."""

Leads = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    """The parameter value at which one method overtakes the other.

    Attributes:
        x: where the mean leads change their sign, by linear interpolation.
        low, high: the neighbouring values at which the one and the other method is ahead for certain.
        ahead: the method that is ahead above `x`.
    """

    x: float
    low: float
    high: float
    ahead: str


@dataclass(frozen=True)
class Ranking:
    """Which method is ahead at each value of the parameter, by the lead of FIRST over SECOND in mean IoU.

    Attributes:
        ahead: the method ahead at each value; "" where chance may have decided it.
        crossing: None unless the methods that are ahead change places once.
        units: what the leads are tested over: "seeds" or "seeds and micrographs".
    """

    ahead: tuple[str, ...]
    crossing: Crossing | None
    units: str


def rank_methods(comparison: Comparison, micrographs: Mapping[str, Micrographs]) -> Ranking | None:
    """Test at each value which method is ahead; None where a value has fewer than three seeds.

    All values together contain a false statement in at most 5 of 100 reports in which the methods are alike
    (Holm, Scandinavian Journal of Statistics 6:65, 1979). `micrographs` are the IoU of each experiment, by name,
    on the same micrographs; if one is missing, the lead is tested over seeds alone.
    """
    if not comparison.has_seeds:
        return None
    complete = all(point.name in micrographs for point in comparison.points)
    means, chances = [], []
    for points in comparison.points_by_x.values():
        leads = np.array([point.scores[FIRST]["mean_iou"] - point.scores[SECOND]["mean_iou"] for point in points])
        own = [micrographs[point.name] for point in points] if complete else []
        means.append(float(leads.mean()))
        chances.append(chance_of_lead(leads, own))
    certain = [p <= 1 - CONFIDENCE for p in holm(chances)]
    ahead = tuple(
        (FIRST if mean > 0 else SECOND) if sure else "" for mean, sure in zip(means, certain, strict=True)
    )
    crossing = _crossing(comparison.values, means, ahead) if comparison.is_numeric else None
    return Ranking(ahead, crossing, "seeds and micrographs" if complete else "seeds")


def chance_of_lead(leads: Leads, micrographs: Sequence[Micrographs]) -> float:
    """Return the p-value of the mean lead of FIRST by a paired t-test over seeds and micrographs, 1 if undefined.

    Seeds and micrographs are crossed: each seed was tested on the same micrographs. Both variances of the mean
    are added, which counts what is neither's alone twice and so is rather too careful (Owen, Annals of Applied
    Statistics 1:386, 2007). The critical value is the mean of Student's for either, weighted by the variances
    (Cochran, Biometrics 20:191, 1964): Satterthwaite's, with three seeds, is false twice as often as it says.

    Args:
        leads: the lead in mean IoU of each seed.
        micrographs: the IoU of each seed on the same micrographs; empty to test over seeds alone.
    """
    from scipy.optimize import brentq
    from scipy.stats import t

    errors = [standard_error(np.stack([leads, np.ones_like(leads)]))]
    if micrographs:
        each = np.mean([np.subtract(one.iou[FIRST], one.iou[SECOND]) for one in micrographs], axis=0)
        errors.append(standard_error(np.stack([each, np.ones_like(each)]), micrographs[0].groups))
    parts = [(error**2, freedom) for _, error, freedom in filter(None, errors)]
    if len(parts) < len(errors):
        return 1.0
    variance = sum(part for part, _ in parts)
    statistic = abs(float(leads.mean())) / math.sqrt(variance)

    def excess(chance: float) -> float:
        return sum(part * float(t.isf(chance / 2, freedom)) for part, freedom in parts) / variance - statistic

    return float(brentq(excess, LEAST_CHANCE, 1)) if excess(LEAST_CHANCE) > 0 else LEAST_CHANCE


def _crossing(values: Sequence[float], leads: Sequence[float], ahead: Sequence[str]) -> Crossing | None:
    """Return the crossing between the last value at which one method is ahead and the first of the other."""
    certain = [(x, method) for x, method in zip(values, ahead, strict=True) if method]
    changes = [(low, high, after) for (low, before), (high, after) in pairwise(certain) if before != after]
    if len(changes) != 1:
        return None
    low, high, after = changes[0]
    found = [x for x, _ in crossings_of(values, leads) if low < x < high]
    return Crossing(found[0], low, high, after) if len(found) == 1 else None


def crossings_of(values: Sequence[float], leads: Sequence[float] | Leads) -> list[tuple[float, str]]:
    """Return where the lead changes its sign, linearly interpolated, each with the method ahead above it.

    Touching zero is not a crossing. Where the lead is zero at several values, the crossing is in their middle.
    """
    pairs = list(zip(values, leads, strict=True))
    found = []
    for (left, before), (right, after) in pairwise((x, lead) for x, lead in pairs if lead):
        if before * after < 0:
            zeros = [x for x, lead in pairs if not lead and left < x < right]
            interpolated = left + before / (before - after) * (right - left)
            x = (zeros[0] + zeros[-1]) / 2 if zeros else interpolated
            found.append((float(x), FIRST if after > 0 else SECOND))
    return found


def describe(comparison: Comparison, ranking: Ranking | None) -> str:
    """Return sentences that say which method is ahead at which values, and where they cross, if that is known."""
    if ranking is None:
        return (
            f"A value has fewer than {FEWEST_UNITS} seeds: differences cannot be distinguished from the noise of "
            "training. Run more with `microseg sweep -S train.seed=1,2,3,4,5`."
        )
    names = [show(x) for x in comparison.points_by_x]
    parts = []
    for method in METHODS:
        values = [name for name, ahead in zip(names, ranking.ahead, strict=True) if ahead == method]
        if values:
            parts.append(f"{method} is ahead at {', '.join(values)}")
    undecided = [name for name, ahead in zip(names, ranking.ahead, strict=True) if not ahead]
    if undecided:
        parts.append(f"undecided at {', '.join(undecided)}")
    sentences = [
        f"By paired t-tests over {ranking.units}, which together are wrong in at most 5 of 100 reports, at "
        f"{comparison.key}: {'; '.join(parts)}."
    ]
    if ranking.crossing:
        crossing = ranking.crossing
        sentences.append(
            f"They cross between {crossing.low:.4g} and {crossing.high:.4g}, by linear interpolation at "
            f"{crossing.x:.4g}; above it {crossing.ahead} is ahead."
        )
    elif comparison.is_numeric:
        sentences.append("A single crossing cannot be distinguished from noise.")
    return " ".join(sentences)
