"""Which of the two ways of post-processing is ahead, and where they change places, as far as noise lets tell."""

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
    """Where one method overtakes the other, with the 95 % interval of the place."""

    x: float
    low: float
    high: float
    ahead: str
    """The method that is ahead above it."""


@dataclass(frozen=True)
class Standing:
    """What can be told of the lead of FIRST over SECOND.

    Attributes:
        ahead: for each place the method that is ahead there, "" where the 95 % interval of the lead holds zero.
        crossing: None where the methods do not cross once and the same way in 95 % of the resamples.
        over: what was resampled, in words.
    """

    ahead: tuple[str, ...]
    crossing: Crossing | None
    over: str


def standing(comparison: Comparison, micrographs: Mapping[str, Micrographs]) -> Standing | None:
    """Resample seeds and micrographs to tell where which method is ahead; None with one seed at a place.

    Args:
        comparison: the experiments.
        micrographs: the IoU of every experiment, by name, on the same micrographs; where it lacks one, only seeds
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
    return Standing(ahead, crossing, "seeds and micrographs" if complete else "seeds")


def _resampled_leads(comparison: Comparison, micrographs: Mapping[str, Micrographs] | None) -> Leads:
    """Return the lead of FIRST, (RESAMPLES, places), in each draw of seeds and micrographs.

    The micrographs of a draw are the same for all experiments, which were all measured on them.
    """
    random = generator(0, "crossings")
    weights: Leads | None = None
    columns = []
    for points in comparison.places.values():
        leads = []
        for point in points:
            if micrographs is None:
                lead = point.scores[FIRST]["mean_iou"] - point.scores[SECOND]["mean_iou"]
                leads.append(np.full(RESAMPLES, lead))
                continue
            one = micrographs[point.name]
            weights = _draws(one.groups, random) if weights is None else weights
            leads.append(weights @ (np.asarray(one.iou[FIRST]) - np.asarray(one.iou[SECOND])))
        chosen = random.integers(len(points), size=(len(points), RESAMPLES))
        columns.append(np.take_along_axis(np.array(leads), chosen, axis=0).mean(axis=0))
    return np.stack(columns, axis=1)


def _draws(groups: Sequence[str], random: np.random.Generator) -> Leads:
    """Return how much each micrograph counts in each draw of micrographs or groups, (RESAMPLES, micrographs)."""
    names = [group or f"\0{number}" for number, group in enumerate(groups)]
    _, places = np.unique(names, return_inverse=True)
    units = int(places.max()) + 1
    weights = random.multinomial(units, np.full(units, 1 / units), RESAMPLES)[:, places].astype(np.float64)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _crossing(values: Sequence[float], resampled: Leads) -> Crossing | None:
    found = [crossings_of(values, leads) for leads in resampled]
    once = [one[0] for one in found if len(one) == 1]
    upward = [x for x, ahead in once if ahead == FIRST]
    downward = [x for x, ahead in once if ahead == SECOND]
    for ahead, places in ((FIRST, upward), (SECOND, downward)):
        if len(places) >= CERTAIN * RESAMPLES:
            low, middle, high = np.percentile(places, [2.5, 50, 97.5])
            return Crossing(float(middle), float(low), float(high), ahead)
    return None


def crossings_of(values: Sequence[float], leads: Sequence[float] | Leads) -> list[tuple[float, str]]:
    """Return where a line changes its sign, interpolated between neighbours, and who is ahead above it.

    Where it only touches zero it does not cross; where it is zero at several places and parts on the other side,
    it crosses in their middle.
    """
    pairs = list(zip(values, leads, strict=True))
    apart = [(x, lead) for x, lead in pairs if lead]
    found = []
    for (left, before), (right, after) in pairwise(apart):
        if before * after < 0:
            together = [x for x, lead in pairs if not lead and left < x < right]
            between = left + before / (before - after) * (right - left)
            x = (together[0] + together[-1]) / 2 if together else between
            found.append((float(x), FIRST if after > 0 else SECOND))
    return found


def describe(comparison: Comparison, found: Standing | None) -> str:
    """Return sentences that say who is ahead where, and where the methods cross, or that nothing can be told."""
    if found is None:
        return (
            "There is one seed at a place only: no difference here can be told from the noise of the training. "
            "Run more with `microseg sweep -S train.seed=1,2,3`."
        )
    names = [show(x) for x in comparison.places]
    words = []
    for method in METHODS:
        places = [name for name, ahead in zip(names, found.ahead, strict=True) if ahead == method]
        if places:
            words.append(f"{method} is ahead at {', '.join(places)}")
    undecided = [name for name, ahead in zip(names, found.ahead, strict=True) if not ahead]
    if undecided:
        words.append(f"undecided at {', '.join(undecided)}")
    sentences = [f"Along {comparison.key}, by 95 % bootstrap intervals over {found.over}: {'; '.join(words)}."]
    if found.crossing:
        one = found.crossing
        sentences.append(
            f"They cross at {one.x:.4g} (95 % interval {one.low:.4g} to {one.high:.4g}); "
            f"above it {one.ahead} is ahead."
        )
    elif comparison.is_numeric:
        sentences.append("That they cross once cannot be told from noise.")
    return " ".join(sentences)
