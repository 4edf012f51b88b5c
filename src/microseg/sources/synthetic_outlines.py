"""Outlines of synthetic islands: blocky shapes, placed without overlap, clicked as if by hand."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]

# Counts refer to a micrograph of this many pixels (1024 x 768); other sizes have proportionally more or fewer.
REFERENCE_PIXELS = 1024 * 768
MOST_ISLANDS = 22
LARGEST_FOREGROUND = 0.35
SMALLEST_AREA = 300.0
MOST_CLICKS = 200
# Overlap is tested on a canvas this many times coarser than the micrograph.
LAYOUT_STEP = 4
PLACING_ATTEMPTS = 12


@dataclass(frozen=True)
class Outline:
    """A blocky region: a pixel (x, y) near its centre and the clicks around it, (n, 2), from the top left."""

    center: tuple[int, int]
    clicks: Points


class Layout:
    """The area of a micrograph that is already occupied, so that no two regions touch."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        size = (math.ceil(width / LAYOUT_STEP), math.ceil(height / LAYOUT_STEP))
        self._occupied = Image.new("1", size)

    def place(
        self, rng: np.random.Generator, area: float, direction_at: Callable[[float, float], float]
    ) -> Outline | None:
        """Find a place for one region of about `area` pixels, or for a smaller one; None if there is none.

        `direction_at` gives the angle in radians along which regions at (x, y) are stretched.
        """
        for attempt in range(PLACING_ATTEMPTS):
            x, y = rng.uniform((0, 0), (self.width, self.height)).tolist()
            direction = direction_at(x, y) + rng.normal(0, 0.3)
            shape = blocky_shape(rng, max(area * 0.9**attempt, SMALLEST_AREA), direction)
            clicks = clicked_by_hand(rng, shape + np.array([x, y]), self.height, self.width)
            if len(clicks) >= 4 and polygon_area(clicks) >= SMALLEST_AREA / 3 and self._occupy(clicks):
                return Outline((int(x), int(y)), clicks)
        return None

    def _occupy(self, clicks: Points) -> bool:
        """Occupy the region and a margin around it, unless some of it is occupied already."""
        candidate = Image.new("1", self._occupied.size)
        corners = [(x / LAYOUT_STEP, y / LAYOUT_STEP) for x, y in clicks.tolist()]
        ImageDraw.Draw(candidate).polygon(corners, fill=1, outline=1, width=3)
        if np.any(np.asarray(candidate) & np.asarray(self._occupied)):
            return False
        self._occupied.paste(1, mask=candidate)
        return True


def place_islands(
    rng: np.random.Generator, layout: Layout, direction_at: Callable[[float, float], float]
) -> list[Outline]:
    """Place the annotated islands of one micrograph, at least one.

    Their number (1 to 22, 5 on average) and areas (log-normal, median near 7,000 pixels) follow the published
    annotations of bainitic steel, and so does the fraction of the micrograph that they cover.
    """
    pixels = layout.height * layout.width
    at_reference = min(1 + int(rng.negative_binomial(2.2, 0.335)), MOST_ISLANDS)
    number = max(round(at_reference * pixels / REFERENCE_PIXELS), 1)
    median_area = 7400 * rng.lognormal(0, 0.4)
    islands: list[Outline] = []
    free = LARGEST_FOREGROUND * pixels
    for area in np.clip(median_area * rng.lognormal(0, 0.85, number), SMALLEST_AREA, 0.25 * pixels):
        island = layout.place(rng, min(float(area), free), direction_at) if free > SMALLEST_AREA else None
        if island is not None:
            islands.append(island)
            free -= polygon_area(island.clicks)
    return islands


def place_blocks(
    rng: np.random.Generator, layout: Layout, direction_at: Callable[[float, float], float]
) -> Iterator[Outline]:
    """Place blocks that have the shape of islands but are drawn without a rim and not annotated."""
    for _ in range(rng.poisson(4 * layout.height * layout.width / REFERENCE_PIXELS)):
        block = layout.place(rng, float(np.clip(5000 * rng.lognormal(0, 0.6), 500, 20000)), direction_at)
        if block is not None:
            yield block


def blocky_shape(rng: np.random.Generator, area: float, direction: float) -> Points:
    """Return an angular, partly notched shape around the origin with an enclosed area near `area`, (n, 2).

    It is stretched along `direction` (radians) and star-shaped before its edges are roughened; its vertices are
    about 15 pixels apart, like the published clicks.
    """
    corners = int(rng.integers(5, 9) + rng.poisson(min(area / 6000, 14)))
    angles = (np.arange(corners) + rng.uniform(-0.38, 0.38, corners)) * 2 * np.pi / corners
    notched = rng.random(corners) < 0.35
    radii = rng.uniform(0.7, 1.0, corners) * np.where(notched, rng.uniform(0.3, 0.7, corners), 1.0)
    stretch = math.sqrt(min(1.65 * rng.lognormal(0, 0.35), 5))
    shape = np.stack([stretch * radii * np.cos(angles), radii / stretch * np.sin(angles)], axis=1)
    cosine, sine = math.cos(direction), math.sin(direction)
    shape = shape @ np.array([[cosine, sine], [-sine, cosine]])
    shape *= math.sqrt(area / polygon_area(shape))
    return _roughen(rng, shape, spacing=float(np.clip(14 * rng.lognormal(0, 0.3), 6, 35)))


def _roughen(rng: np.random.Generator, shape: Points, spacing: float) -> Points:
    """Divide each edge into pieces of about `spacing` pixels and shift the new vertices across the edge."""
    ends = np.roll(shape, -1, axis=0)
    spacing = max(spacing, float(np.hypot(*(ends - shape).T).sum()) / MOST_CLICKS)
    pieces = []
    for start, end in zip(shape, ends, strict=True):
        along = end - start
        length = float(np.hypot(*along))
        number = max(round(length / spacing), 1)
        steps = (np.arange(number) + np.where(np.arange(number) > 0, rng.uniform(-0.3, 0.3, number), 0)) / number
        across = np.array([-along[1], along[0]]) / max(length, 1e-9)
        shift = np.where(np.arange(number) > 0, rng.normal(0, 0.16 * spacing, number), 0)
        pieces.append(start + steps[:, None] * along + shift[:, None] * across)
    return np.concatenate(pieces)


def clicked_by_hand(rng: np.random.Generator, shape: Points, height: int, width: int) -> Points:
    """Return the clicks of an annotator around `shape`: whole pixels, none twice in a row.

    Vertices outside the micrograph are clicked at its border, now and then a pixel or two beyond it. One polygon
    in 200 has fractions of pixels, as from a zoomed view, and one in 200 repeats its first click at the end.
    """
    slip = rng.choice(3, p=[0.93, 0.04, 0.03])
    clicks = np.clip(shape, -slip, np.array([width, height]) - 1 + slip)
    if rng.random() >= 0.005:
        clicks = np.round(clicks)
    clicks = clicks[np.any(clicks != np.roll(clicks, 1, axis=0), axis=1)]
    if rng.random() < 0.005:
        clicks = np.concatenate([clicks, clicks[:1]])
    return clicks


def polygon_area(points: Points) -> float:
    """Return the area that the polygon with these vertices, (n, 2), encloses (the shoelace formula)."""
    x, y = points.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
