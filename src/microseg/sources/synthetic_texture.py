"""Drawing a synthetic scanning electron micrograph of bainitic steel around given islands.

Grey values are float32 arrays of (height, width), from 0 (black) to 1 (white), until the last step. All lengths
are in pixels, so a smaller micrograph is a smaller field of view, not a coarser image.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree

from microseg.sources.synthetic_outlines import REFERENCE_PIXELS, Outline

Grey = NDArray[np.float32]
Size = tuple[int, int]

LATH_TILE = 256
# Grains are computed on a grid this many times coarser than the micrograph.
GRAIN_STEP = 2


@dataclass(frozen=True)
class Style:
    """What the micrographs of one steel and heat treatment have in common."""

    lath_width: float
    """Mean distance of neighboring laths in pixels."""
    lath_contrast: float
    """Amplitude of the lath texture in grey values."""
    grain_size: float
    """Mean grain diameter in pixels."""
    brightness: float
    """Mean grey value of the matrix, 0 to 1."""
    island_grain: float
    """Size of the features inside the islands in pixels."""
    island_offset: float
    """Grey value of the inside of the islands minus that of the matrix."""
    films: float
    """Amount of bright films between the laths, 0 to about 1."""
    carbides: float
    """Bright carbides per micrograph of 1024 x 768 pixels."""
    noise: float
    """Standard deviation of the detector noise in grey values."""


@dataclass(frozen=True)
class Grains:
    """Regions of one lath direction each."""

    labels: NDArray[np.intp]
    """The number of the grain of each pixel, (height, width)."""
    boundary: Grey
    """1 on the grain boundaries, falling to 0 a few pixels away."""
    directions: NDArray[np.float64]
    """The direction of each grain's laths in radians."""

    def direction_at(self, x: float, y: float) -> float:
        """Return the direction of the laths at (x, y), a point inside the micrograph."""
        return float(self.directions[self.labels[int(y), int(x)]])


def draw_grains(rng: np.random.Generator, size: Size, grain_size: float) -> Grains:
    """Divide the field of view into grains: the cells of random points, with warped boundaries."""
    height, width = size
    coarse = (math.ceil(height / GRAIN_STEP), math.ceil(width / GRAIN_STEP))
    margin = grain_size
    number = math.ceil((height + 2 * margin) * (width + 2 * margin) / grain_size**2)
    points = rng.uniform((-margin, -margin), (height + margin, width + margin), (number, 2))
    y, x = np.indices(coarse, dtype=np.float32) * GRAIN_STEP
    y += 9 * smooth_noise(rng, coarse, 18)
    x += 9 * smooth_noise(rng, coarse, 18)
    distances, nearest = (np.asarray(found) for found in cKDTree(points).query(np.stack([y, x], axis=-1), k=2))
    boundary = np.exp(-(((distances[..., 1] - distances[..., 0]) / 4) ** 2)).astype(np.float32)
    return Grains(
        labels=nearest[..., 0].repeat(GRAIN_STEP, axis=0).repeat(GRAIN_STEP, axis=1)[:height, :width],
        boundary=np.asarray(Image.fromarray(boundary).resize((width, height), Image.Resampling.BILINEAR)),
        directions=rng.uniform(0, np.pi, number),
    )


def draw_micrograph(
    rng: np.random.Generator, grains: Grains, islands: Sequence[Outline], blocks: Sequence[Outline], style: Style
) -> NDArray[np.uint8]:
    """Draw one micrograph, (height, width) of 0 to 255: matrix, regions in it, effects of the microscope."""
    size: Size = grains.labels.shape[0], grains.labels.shape[1]
    grain_grey = rng.normal(style.brightness, 0.035, len(grains.directions)).astype(np.float32)
    grey = grain_grey[grains.labels] + 0.09 * grains.boundary
    laths = lath_field(rng, grains, style.lath_width)
    grey += style.lath_contrast * draw_laths(laths) + 0.2 * draw_films(rng, laths, style.films)
    grey = draw_blocks(rng, grey, blocks)
    grey += draw_carbides(rng, size, style.carbides)
    grey = draw_islands(rng, grey, islands, style)
    grey = ndimage.gaussian_filter(grey, 0.8)
    grey = uneven_contrast(rng, grey) + charging_stripes(rng, size)
    grey += detector_noise(rng, grey, style.noise)
    eight_bit: NDArray[np.uint8] = np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return eight_bit


def lath_field(rng: np.random.Generator, grains: Grains, lath_width: float) -> Grey:
    """Return a random field with mean 0 and standard deviation 1, stretched along the direction of each grain.

    One tile of random values is stretched, rotated and shifted for every grain. Regions of one sign are laths,
    about `lath_width` pixels wide; zero crossings are the boundaries between them.
    """
    size: Size = grains.labels.shape[0], grains.labels.shape[1]
    tile = ndimage.gaussian_filter(rng.standard_normal((LATH_TILE, LATH_TILE), dtype=np.float32), 1.2, mode="wrap")
    tile /= tile.std()
    y, x = np.indices(size, dtype=np.float32)
    x += 5 * smooth_noise(rng, size, 45)
    y += 5 * smooth_noise(rng, size, 45)
    cosine = np.cos(grains.directions).astype(np.float32)[grains.labels]
    sine = np.sin(grains.directions).astype(np.float32)[grains.labels]
    shift = rng.uniform(0, LATH_TILE, (2, len(grains.directions))).astype(np.float32)
    across = (y * cosine - x * sine) * np.float32(3.2 / lath_width) + shift[0][grains.labels]
    along = (x * cosine + y * sine) * np.float32(0.32 / lath_width) + shift[1][grains.labels]
    field: Grey = ndimage.map_coordinates(tile, np.stack([across, along]), order=1, mode="grid-wrap")
    return field


def draw_laths(field: Grey) -> Grey:
    """Draw the laths of a lath field: soft stripes of changing grey between thin bright boundaries."""
    grey: Grey = 0.55 * field + 1.1 * np.exp(-((field / np.float32(0.22)) ** 2)) - 0.25
    return grey


def draw_films(rng: np.random.Generator, field: Grey, amount: float) -> Grey:
    """Draw bright films of retained austenite, 0 elsewhere: some lath boundaries, some whole thin laths."""
    places = np.clip(3 * (smooth_noise(rng, field.shape, 40) + amount - 1.6), 0, 1)
    boundaries = np.exp(-((field / np.float32(0.35)) ** 2))
    films: Grey = places * np.maximum(boundaries, np.clip(3 * (field - 1.2), 0, 1))
    return films


def draw_blocks(rng: np.random.Generator, grey: Grey, blocks: Sequence[Outline]) -> Grey:
    """Draw smooth blocks without a rim, darker or brighter than the matrix."""
    inside = fill_outlines(grey.shape, blocks, [1.0] * len(blocks))
    offset = fill_outlines(grey.shape, blocks, rng.uniform(-0.10, 0.12, len(blocks)).tolist())
    flat = grey.mean() + offset + 0.02 * smooth_noise(rng, grey.shape, 12)
    drawn: Grey = grey + 0.9 * inside * (flat - grey)
    return drawn


def draw_carbides(rng: np.random.Generator, size: Size, number: float) -> Grey:
    """Draw small, round, bright carbides, denser in some places than in others; 0 elsewhere."""
    height, width = size
    canvas = Image.new("F", (width, height))
    draw = ImageDraw.Draw(canvas)
    density = smooth_noise(rng, size, 120)
    for _ in range(rng.poisson(number * height * width / REFERENCE_PIXELS)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if density[int(y), int(x)] < rng.normal(0, 0.4):
            continue
        radius = min(0.9 * rng.lognormal(0.2, 0.45), 5)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=rng.uniform(0.15, 0.45))
    return np.asarray(canvas)


def draw_islands(rng: np.random.Generator, grey: Grey, islands: Sequence[Outline], style: Style) -> Grey:
    """Draw the islands: a granular inside in the given style, and a bright rim of uneven strength."""
    size = grey.shape
    mask = fill_outlines(size, islands, [1.0] * len(islands))
    rim = np.clip(mask - ndimage.gaussian_filter(mask, 2.5), 0, None) * mask
    strength = np.clip(0.8 + 0.35 * smooth_noise(rng, size, 30), 0.15, None)
    offset = fill_outlines(size, islands, rng.normal(style.island_offset, 0.04, len(islands)).tolist())
    grains = np.tanh(2 * smooth_noise(rng, size, style.island_grain))
    grains += 0.4 * smooth_noise(rng, size, 4 * style.island_grain)
    filled = grey.mean() + 0.25 * (grey - grey.mean()) + offset + 0.085 * grains
    drawn: Grey = grey + mask * (filled - grey) + strength * rim
    return drawn


def uneven_contrast(rng: np.random.Generator, grey: Grey) -> Grey:
    """Vary brightness and contrast slowly across the micrograph, as detector position and tilt do."""
    mean = grey.mean()
    gain = rng.uniform(0.85, 1.15) + 0.12 * smooth_noise(rng, grey.shape, 350)
    offset = rng.normal(0, 0.03) + 0.05 * smooth_noise(rng, grey.shape, 500)
    drawn: Grey = mean + gain * (grey - mean) + offset
    return drawn


def charging_stripes(rng: np.random.Generator, size: Size) -> Grey:
    """Return horizontal bright and dark stripes that start somewhere on a scan line and fade towards its end."""
    height, width = size
    stripes = np.zeros(size, np.float32)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    for _ in range(rng.poisson(5 * height / 768)):
        profile = np.exp(-(((rows - rng.uniform(0, height)) / rng.uniform(1, 14)) ** 2))
        start, length = rng.uniform(-0.5, 0.9) * width, rng.uniform(200, 1200)
        fade = np.where(columns > start, np.exp(-np.abs(columns - start) / length), 0)
        stripes += rng.uniform(-0.14, 0.16) * profile * fade
    return stripes + 0.008 * rng.standard_normal((height, 1), dtype=np.float32)


def detector_noise(rng: np.random.Generator, grey: Grey, standard_deviation: float) -> Grey:
    """Return noise that grows with brightness, like that of counted electrons."""
    noise: Grey = rng.standard_normal(grey.shape, dtype=np.float32) * np.sqrt(np.clip(grey, 0.1, 1) / 0.4)
    return standard_deviation * noise


def fill_outlines(size: Size, outlines: Sequence[Outline], values: Iterable[float]) -> Grey:
    """Fill each outline, including its border, with a value of its own on a background of 0."""
    canvas = Image.new("F", (size[1], size[0]))
    draw = ImageDraw.Draw(canvas)
    for outline, value in zip(outlines, values, strict=True):
        draw.polygon([(x, y) for x, y in outline.clicks.tolist()], fill=value, outline=value)
    return np.asarray(canvas)


def smooth_noise(rng: np.random.Generator, size: Size, scale: float) -> Grey:
    """Return smooth noise with mean 0, standard deviation near 0.7, and features of about `scale` pixels."""
    height, width = size
    rows, columns = math.ceil(height / scale) + 2, math.ceil(width / scale) + 2
    coarse = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
    box = (0.5, 0.5, 0.5 + width / scale, 0.5 + height / scale)
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC, box))
