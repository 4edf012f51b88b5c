"""Where the two ways of post-processing change places."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from microseg.experiments.comparison import Comparison, show
from microseg.prediction.postprocessing import METHODS

FIRST, SECOND = METHODS


@dataclass(frozen=True)
class Crossing:
    """Where one method overtakes the other."""

    x: float
    left: float
    """The nearest value below it that was tried, and at which the methods differ."""
    right: float
    """The nearest such value above it."""
    ahead: str
    """The method that is ahead above it."""


def find_crossings(comparison: Comparison) -> list[Crossing]:
    """Return where the two lines of mean IoU cross, interpolated linearly between neighbours, in ascending order.

    Where the lines only touch there is no crossing; where they run together over several points and part on the
    other side, it is in their middle.
    """
    leads = list(zip(comparison.values, _leads(comparison), strict=True))
    apart = [(x, lead) for x, lead in leads if lead]
    found = []
    for (left, before), (right, after) in pairwise(apart):
        if before * after < 0:
            together = [x for x, lead in leads if not lead and left < x < right]
            fraction = before / (before - after)
            x = (together[0] + together[-1]) / 2 if together else left + fraction * (right - left)
            found.append(Crossing(x, left, right, FIRST if after > 0 else SECOND))
    return found


def describe_crossings(comparison: Comparison) -> str:
    """Return a sentence that says where the methods cross, or which of them is ahead where they do not."""
    leads = _leads(comparison)
    if not comparison.is_numeric:
        return _describe_categories(comparison, leads)
    found = find_crossings(comparison)
    if found:
        places = [
            f"at {one.x:.4g} (between {show(one.left)} and {show(one.right)}; above it {one.ahead} is ahead)"
            for one in found
        ]
        return f"Along {comparison.key}, the mean IoU of {FIRST} and {SECOND} cross {' and '.join(places)}."
    everywhere = "everywhere" if all(leads) else "wherever they differ"
    if any(leads):
        return f"{(FIRST if max(leads) > 0 else SECOND).title()} is ahead {everywhere}."
    return f"{FIRST.title()} and {SECOND} have the same mean IoU everywhere."


def _leads(comparison: Comparison) -> list[float]:
    first, second = (comparison.series(method, "mean_iou") for method in METHODS)
    return [one - other for one, other in zip(first, second, strict=True)]


def _describe_categories(comparison: Comparison, leads: Sequence[float]) -> str:
    words = [
        f"{show(point.x)}: {(FIRST if lead > 0 else SECOND) + ' is ahead' if lead else 'the methods are equal'}"
        for point, lead in zip(comparison.points, leads, strict=True)
    ]
    return f"By {comparison.key}: {'; '.join(words)}."
