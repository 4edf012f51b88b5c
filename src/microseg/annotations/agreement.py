"""The points on which several annotators agree: how the published labels were made.

Markers of different annotators agree if each lies within a distance of every other. Points of all annotators come
first, then those of one annotator fewer, down to two; among those of equally many, the closest come first. Every
marker is used once, and an agreed point is the mean of its markers. Iren et al. (Scientific Data 8:140, 2021)
published the points of three annotators and the agreed ones: a distance of 30 pixels comes closest to theirs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microseg.annotations.polygons import parse_points
from microseg.common.errors import InputError
from microseg.common.tables import read_table

Points = NDArray[np.float64]

Group = tuple[tuple[int, int], ...]
"""Markers that agree, each as (annotator, index)."""


@dataclass(frozen=True)
class AgreedPoint:
    """A point (x, y) in pixels, and the indices of the annotators who agree on it."""

    point: tuple[float, float]
    annotators: tuple[int, ...]


def agreed_points(markers: Sequence[Points], threshold: float) -> list[AgreedPoint]:
    """Match the markers of one micrograph.

    Args:
        markers: the points that each annotator marked, (n, 2) of (x, y) in pixels; n may be 0.
        threshold: the largest Euclidean distance in pixels at which two markers still agree, >= 0.

    Returns:
        The agreed points, those of most annotators first.
    """
    distances = {
        (first, second): np.hypot(*(markers[first][:, None] - markers[second][None]).transpose(2, 0, 1))
        for first, second in combinations(range(len(markers)), 2)
    }
    used: set[tuple[int, int]] = set()
    agreed = []
    for size in range(len(markers), 1, -1):
        candidates = [
            (spread, group)
            for annotators in combinations(range(len(markers)), size)
            for spread, group in _candidates(annotators, distances, threshold)
        ]
        for _, group in sorted(candidates):
            if used.isdisjoint(group):
                used.update(group)
                x, y = np.mean([markers[annotator][index] for annotator, index in group], axis=0).tolist()
                agreed.append(AgreedPoint((x, y), tuple(annotator for annotator, _ in group)))
    return agreed


def _candidates(
    annotators: tuple[int, ...], distances: dict[tuple[int, int], Points], threshold: float
) -> Iterator[tuple[float, Group]]:
    """Yield the spread and the markers of each group of one marker per annotator that are within `threshold`."""
    first, second, *others = annotators
    for i, j in np.argwhere(distances[first, second] <= threshold).tolist():
        groups: list[tuple[float, Group]] = [(float(distances[first, second][i, j]), ((first, i), (second, j)))]
        for other in others:
            groups = [
                (max(spread, float(reach[k])), (*group, (other, k)))
                for spread, group in groups
                for reach in [np.max([distances[annotator, other][index] for annotator, index in group], axis=0)]
                for k in np.flatnonzero(reach <= threshold).tolist()
            ]
        yield from groups


def read_markers(path: Path, annotators: Sequence[str]) -> dict[str, list[Points]]:
    """Read a table of markers: for each image, the points (n, 2) in the column of each annotator.

    Raises:
        InputError: the table cannot be read, a column is missing, or a field is not a list of points.
    """
    header, rows = read_table(path)
    for column in annotators:
        if column not in header:
            raise InputError(f"{path}, line 1: no column {column}; there are {', '.join(header)}")
    markers = {}
    for number, fields in rows:
        row = dict(zip(header, fields, strict=True))
        try:
            points = [parse_points(row[column], f"column {column}:") for column in annotators]
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}; fix the line") from None
        markers[fields[0]] = [np.array(one, np.float64).reshape(-1, 2) for one in points]
    return markers
