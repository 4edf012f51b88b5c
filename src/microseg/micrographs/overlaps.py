"""Micrographs that show the same place: equal pixels, or fields that overlap.

Overlaps are found by phase correlation (Kuglin and Hines, Proc. IEEE Int. Conf. on Cybernetics and Society, 1975)
of thumbnails in all eight orientations, and verified at higher resolution: the overlap must agree in most of its
parts, as brightness that falls off towards the corners, or an information bar, does not, and at one displacement
only, as a periodic structure does not. What overlaps by less than a half may stay unseen, as may crops at another
magnification; copies of a whole micrograph in another size are found.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from microseg.common.parallel import map_in_processes, usable_cores
from microseg.common.progress import progress
from microseg.micrographs.images import image_size, pixel_digest, read_micrograph

THUMBNAIL, DETAIL = 48, 256
"""Longer side, in pixels, of the largest thumbnail for the search, and for the verification."""
CANDIDATE = 5.5
"""A correlation of so many standard deviations is verified; one of some thousand pairs has it by chance."""
AT_ONCE = 64
"""Pairs that are correlated at once."""
ORIENTATIONS = 8
FEWEST_FOR_COMMON, MOST_FOR_COMMON, COMMON = 10, 100, 0.25
"""Of so many micrographs of one shape, what varies by less than this fraction of the usual is the same in all."""
LOWEST_FREQUENCY = 3
"""Waves that fit less often into a thumbnail are brightness, not structure."""
FINE, COARSE = 1.0, 25
"""Standard deviation of a blur, and side of the squares whose mean is brightness, in pixels of DETAIL."""
FLAT = 128
TILE, FEWEST_TILES = 16, 12
"""Side of the parts of an overlap, in pixels of DETAIL, and how many it has at least."""
AGREEMENT = 0.5
"""The median correlation of the parts of an overlap, at least."""
NEXT_PEAK, NEAR = 0.7, 4
"""Height of the next peak by that of an overlap, at most, and how many pixels around a peak belong to it."""

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """What is kept of a micrograph: the digest of its pixels, and a thumbnail, (height, width) of 0 to 255."""

    digest: str
    thumbnail: Grey


def look_at(folder: Path, images: Sequence[str]) -> dict[str, Look]:
    """Read each of the `images` in a folder once; thumbnails are all of one scale."""
    longest = max(max(image_size(folder / image)) for image in images)
    scale = min(1.0, DETAIL / longest)
    looks = map_in_processes(partial(_look_at_one, folder, scale), images, "comparing micrographs")
    return dict(zip(images, looks, strict=True))


def _look_at_one(folder: Path, scale: float, image: str) -> Look:
    micrograph = read_micrograph(folder / image)
    return Look(pixel_digest(micrograph), _resized(micrograph, scale))


def _resized(picture: Grey, scale: float) -> Grey:
    height, width = (max(1, round(length * scale)) for length in picture.shape)
    # A first step averages whole pixels, which takes a fifth of the time.
    return np.asarray(Image.fromarray(picture).resize((width, height), reducing_gap=2.0))


def overlapping_images(looks: Mapping[str, Look], sides: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the pairs of micrographs on different sides that show the same place, sorted.

    Args:
        looks: the micrographs, as `look_at` returns them.
        sides: the side of each of them that is compared, such as its split.
    """
    images = sorted(sides)
    side = np.unique([sides[image] for image in images], return_inverse=True)[1]
    details = _structures([looks[image].thumbnail for image in images])
    scale = min(1.0, THUMBNAIL / max(max(detail.shape) for detail in details))
    forms = [[_resized(detail, scale) for detail in details]]
    if len({tuple(sorted(detail.shape)) for detail in details}) > 1:
        # In one size, whatever their own: the whole of one may be the whole of another.
        forms.append([_squared(detail, (THUMBNAIL, THUMBNAIL)) for detail in details])
    found = set()
    is_periodic = cache(lambda number: _is_periodic(details[number]))
    for same_size, thumbnails in enumerate(forms):
        for first, second, orientation in _candidates(thumbnails, side):
            if (first, second) in found or is_periodic(first):
                continue
            one, other = _oriented(details[first], orientation), details[second]
            if _overlap(one, _squared(other, one.shape) if same_size else other):
                found.add((first, second))
    return [(images[first], images[second]) for first, second in sorted(found)]


def overlap_message(pairs: Sequence[tuple[str, str]]) -> str:
    """Return the error for one or more pairs of `overlapping_images`."""
    others = f" ({len(pairs) - 1} more pairs like this)" if len(pairs) > 1 else ""
    return (
        f"{' and '.join(pairs[0])} show the same place and are on different sides of the split{others}; give them "
        "one value in a column of split.group_by, the same split in split.from_column, or leave one out; if you "
        "know better, set split.allow_overlap to true"
    )


def _squared(picture: Grey, shape: tuple[int, ...]) -> Grey:
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0])))


def _oriented(picture: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a picture rotated by 0, 90, 180 or 270 degrees (0 to 3), or so and mirrored (4 to 7)."""
    return np.rot90(picture if orientation < ORIENTATIONS / 2 else picture[:, ::-1], orientation)


def _candidates(thumbnails: Sequence[Grey], side: NDArray[np.intp]) -> Iterator[tuple[int, int, int]]:
    """Yield the pairs of thumbnails on different sides that correlate, with the orientation of the first one."""
    length = max(max(thumbnail.shape) for thumbnail in thumbnails)
    shape, workers = (length, length), usable_cores()
    spectra = np.stack([_spectrum(thumbnail, shape) for thumbnail in thumbnails])
    for first, thumbnail in enumerate(progress(thumbnails, "looking for overlaps", total=len(thumbnails))):
        own = np.stack([_spectrum(_oriented(thumbnail, one), shape) for one in range(ORIENTATIONS)])
        later = first + 1 + np.flatnonzero(side[first + 1 :] != side[first])
        for start in range(0, len(later), AT_ONCE):
            others = later[start : start + AT_ONCE]
            surfaces = fft.irfft2(own[:, None] * np.conj(spectra[others]), shape, workers=workers)
            peaks = surfaces.max(axis=(2, 3))
            # All amplitudes are 1, so that random phases have a standard deviation of 1 / length.
            for number in np.flatnonzero(peaks.max(axis=0) > CANDIDATE / length):
                orientation = int(peaks[:, number].argmax())
                if _only_peak(surfaces[orientation, number]) is not None:
                    yield first, int(others[number]), orientation


def _structures(pictures: Sequence[Grey]) -> list[Grey]:
    """Return grey values less their local mean, FLAT for 0 and where all of a shape are alike, as in a bar."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        alike.setdefault(picture.shape, []).append(number)
    structures = list(pictures)
    for shape, numbers in alike.items():
        used = np.ones(shape, np.bool_)
        if len(numbers) >= FEWEST_FOR_COMMON:
            deviation = np.std([pictures[one] for one in numbers[:MOST_FOR_COMMON]], axis=0, dtype=np.float32)
            alone = deviation >= COMMON * np.median(deviation)
            square = np.ones(
                (2 * NEAR + 1, 2 * NEAR + 1), np.bool_
            )  # closed: a bar is larger than what is alike by chance
            used = np.asarray(ndimage.binary_closing(np.pad(alone, NEAR), square)[NEAR:-NEAR, NEAR:-NEAR])
        # Nothing where the square reaches out of what is used: there it would follow every change of brightness.
        whole = ndimage.uniform_filter(used.astype(np.float32), COARSE, mode="constant") > 0.999
        for one in numbers:
            values = pictures[one].astype(np.float32)
            rest = np.where(whole, values - ndimage.uniform_filter(values, COARSE) + FLAT, FLAT)
            structures[one] = np.clip(np.rint(rest), 0, 255).astype(np.uint8)
    return structures


def _only_peak(surface: NDArray[np.float32]) -> tuple[int, int] | None:
    """Return the place of the highest peak of a correlation, None where another one is nearly as high."""
    place = np.unravel_index(surface.argmax(), surface.shape)
    around = np.roll(surface, [NEAR - axis for axis in place], axis=(0, 1))
    peak, around[: 2 * NEAR + 1, : 2 * NEAR + 1] = around[NEAR, NEAR], 0
    return None if around.max() > NEXT_PEAK * peak else (int(place[0]), int(place[1]))


def _spectrum(picture: NDArray[Any], shape: tuple[int, int], blur: float = 0.0) -> NDArray[np.complex64]:
    """Return the phases of a picture, with amplitude 1, or less at high frequencies for a blur in pixels.

    The lowest frequencies are 0, since they are brightness, and those along an axis, which borders and lines have.
    """
    spectrum = fft.rfft2(picture - picture.mean(dtype=np.float32), shape)
    amplitudes = np.abs(spectrum)
    spectrum *= _amplitudes(picture.shape, shape, blur)
    return np.asarray(np.divide(spectrum, amplitudes, out=spectrum, where=amplitudes > 0))


@lru_cache(maxsize=16)
def _amplitudes(size: tuple[int, ...], shape: tuple[int, int], blur: float) -> NDArray[np.float32]:
    """Return the amplitudes of a `_spectrum` of this shape for pictures of a size."""
    rows, columns = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    squares = rows**2 + columns**2
    used = (rows * columns != 0) & (squares >= (LOWEST_FREQUENCY / max(size)) ** 2)
    return np.asarray(used * np.exp(-2 * (np.pi * blur) ** 2 * squares), np.float32)


def _overlap(one: Grey, other: Grey) -> bool:
    """Return whether two pictures agree at one displacement, and at no other."""
    lengths = zip(one.shape, other.shape, strict=True)
    height, width = (fft.next_fast_len(first + second, real=True) for first, second in lengths)
    shape = (height, width)  # with zeros around, so that an overlap has one displacement only
    surface = fft.irfft2(_spectrum(one, shape, FINE) * np.conj(_spectrum(other, shape)), shape)
    place = _only_peak(surface)
    if place is None:
        return False
    down, right = (
        int(axis - whole if axis >= own else axis)
        for axis, whole, own in zip(place, shape, one.shape, strict=True)
    )
    here, there = (_blurred(picture) for picture in (one, other))
    tiles = [
        _tiles(here[max(down, 0) : down + other.shape[0], max(right, 0) : right + other.shape[1]]),
        _tiles(there[max(-down, 0) : one.shape[0] - down, max(-right, 0) : one.shape[1] - right]),
    ]
    first, second = (part - part.mean(axis=1, keepdims=True) for part in tiles)
    norms = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    told = norms > 0
    if np.count_nonzero(told) < FEWEST_TILES:
        return False
    return bool(np.median((first * second).sum(axis=1)[told] / norms[told]) >= AGREEMENT)


def _is_periodic(picture: Grey) -> bool:
    """Return whether a structure agrees with itself at some displacement nearly as it does at none."""
    structure = _blurred(picture)
    shape = tuple(fft.next_fast_len(2 * length, real=True) for length in structure.shape)
    correlation = fft.irfft2(np.abs(fft.rfft2(structure, shape)) ** 2, shape)
    peaks = correlation[correlation == ndimage.maximum_filter(correlation, 2 * NEAR + 1, mode="wrap")]
    return bool(np.sort(peaks)[-2] > AGREEMENT * correlation[0, 0])


def _blurred(picture: Grey) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(picture.astype(np.float32) - FLAT, FINE))


def _tiles(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the whole tiles of a picture, (tiles, pixels)."""
    rows, columns = (length // TILE for length in picture.shape)
    cut = picture[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE)
    return cut.transpose(0, 2, 1, 3).reshape(rows * columns, TILE**2)
