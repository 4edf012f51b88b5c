"""Which of the two methods of post-processing is ahead, and where they cross, as far as noise permits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from microseg.common.randomness import generator
from microseg.experiments.comparison import Comparison, Micrographs, show
from microseg.prediction.postprocessing import METHODS

FIRST, SECOND = METHODS
RESAMPLES = 2000
CERTAIN = 0.95

Leads = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    """The parameter value at which one method overtakes the other, with its 95 % interval."""

    x: float
    low: float
    high: float
    ahead: str
    """The method that is ahead above `x`."""


@dataclass(frozen=True)
class Ranking:
    """Which method is ahead at each value of the parameter, by the lead of FIRST over SECOND in mean IoU."""

    ahead: tuple[str, ...]
    """The method ahead at each value; "" where the 95 % interval of the lead contains zero."""
    crossing: Crossing | None
    """None unless the methods cross once, and in the same direction, in 95 % of the resamples."""
    resampled: str
    """What was resampled: "seeds" or "seeds and micrographs"."""


def rank_methods(comparison: Comparison, micrographs: Mapping[str, Micrographs]) -> Ranking | None:
    """Resample seeds and micrographs to rank the methods; None where a value has one seed only.

    Args:
        comparison: the experiments.
        micrographs: the IoU of every experiment, by name, on the same micrographs; if one is missing, only seeds
            are resampled.
    """
    if not comparison.has_seeds:
        return None
    complete = all(point.name in micrographs for point in comparison.points)
    resampled = _resampled_leads(comparison, micrographs if complete else None)
    low, high = np.percentile(resampled, [100 * (1 - CERTAIN) / 2, 100 * (1 + CERTAIN) / 2], axis=0)
    ahead = tuple(
        FIRST if lowest > 0 else SECOND if highest < 0 else "" for lowest, highest in zip(low, high, strict=True)
    )
    crossing = _crossing(comparison.values, resampled) if comparison.is_numeric else None
    return Ranking(ahead, crossing, "seeds and micrographs" if complete else "seeds")


def _resampled_leads(comparison: Comparison, micrographs: Mapping[str, Micrographs] | None) -> Leads:
    """Return the lead of FIRST in each draw of seeds and micrographs, (RESAMPLES, parameter values).

    A draw has the same micrographs for all experiments, as all were evaluated on the same ones.
    """
    random = generator(0, "crossings")
    weights: Leads | None = None
    columns = []
    for points in comparison.points_by_x.values():
        leads = []
        for point in points:
            if micrographs is None:
                lead = point.scores[FIRST]["mean_iou"] - point.scores[SECOND]["mean_iou"]
                leads.append(np.full(RESAMPLES, lead))
                continue
            one = micrographs[point.name]
            weights = _micrograph_weights(one.groups, random) if weights is None else weights
            leads.append(weights @ (np.asarray(one.iou[FIRST]) - np.asarray(one.iou[SECOND])))
        chosen = random.integers(len(points), size=(len(points), RESAMPLES))
        columns.append(np.take_along_axis(np.array(leads), chosen, axis=0).mean(axis=0))
    return np.stack(columns, axis=1)


def _micrograph_weights(groups: Sequence[str], random: np.random.Generator) -> Leads:
    """Return the weight of each micrograph in each draw of micrographs or groups, (RESAMPLES, micrographs)."""
    names = [group or f"\0{number}" for number, group in enumerate(groups)]
    _, unit_of = np.unique(names, return_inverse=True)
    units = int(unit_of.max()) + 1
    weights = random.multinomial(units, np.full(units, 1 / units), RESAMPLES)[:, unit_of].astype(np.float64)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _crossing(values: Sequence[float], resampled: Leads) -> Crossing | None:
    found = [crossings_of(values, leads) for leads in resampled]
    once = [one[0] for one in found if len(one) == 1]
    upward = [x for x, ahead in once if ahead == FIRST]
    downward = [x for x, ahead in once if ahead == SECOND]
    for ahead, crossings in ((FIRST, upward), (SECOND, downward)):
        if len(crossings) >= CERTAIN * RESAMPLES:
            low, middle, high = np.percentile(crossings, [2.5, 50, 97.5])
            return Crossing(float(middle), float(low), float(high), ahead)
    return None


def crossings_of(values: Sequence[float], leads: Sequence[float] | Leads) -> list[tuple[float, str]]:
    """Return where the lead changes its sign, linearly interpolated, each with the method ahead above it.

    Touching zero is not a crossing. Where the lead is zero at several values and then changes its sign, the
    crossing is in their middle.
    """
    pairs = list(zip(values, leads, strict=True))
    nonzero = [(x, lead) for x, lead in pairs if lead]
    found = []
    for (left, before), (right, after) in pairwise(nonzero):
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
            "There is only one seed per value: differences cannot be distinguished from the noise of training. "
            "Run more with `microseg sweep -S train.seed=1,2,3`."
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
    sentences = [f"By 95 % bootstrap intervals over {ranking.resampled}, at {comparison.key}: {'; '.join(parts)}."]
    if ranking.crossing:
        crossing = ranking.crossing
        sentences.append(
            f"They cross at {crossing.x:.4g} (95 % interval {crossing.low:.4g} to {crossing.high:.4g}); "
            f"above it {crossing.ahead} is ahead."
        )
    elif comparison.is_numeric:
        sentences.append("A single crossing cannot be distinguished from noise.")
    return " ".join(sentences)
