"""Choosing some of many sizes so that they come to a number: whole groups to a number of micrographs."""

from collections.abc import Sequence

import numpy as np


def nearest_sum(sizes: Sequence[int], count: int, most: int) -> set[int]:
    """Return the positions of one to `most` of `sizes` whose sum is nearest to `count`, the smaller of two.

    Of several choices with one sum, the first that is found counts: each number of images remembers the last of
    the units that first made it up, which leads back through all of them.
    """
    # A sum further from `count` than zero is wanted only where no other can be reached: one unit, the smallest.
    largest = max(2 * count, min(sizes))
    last_unit = np.full(largest + 1, -1)
    units_used = np.full(largest + 1, -1)
    units_used[0] = 0
    for index, size in enumerate(sizes):
        if size > largest:
            continue
        extendable = (units_used[: largest + 1 - size] >= 0) & (units_used[: largest + 1 - size] < most)
        fresh = np.flatnonzero(extendable & (units_used[size:] < 0)) + size
        units_used[fresh] = units_used[fresh - size] + 1
        last_unit[fresh] = index
        if last_unit[count] >= 0:
            break
    reached = np.flatnonzero(last_unit >= 0)
    total = int(reached[np.argmin(np.abs(reached - count))])
    chosen = set()
    while total:
        chosen.add(int(last_unit[total]))
        total -= sizes[last_unit[total]]
    return chosen
