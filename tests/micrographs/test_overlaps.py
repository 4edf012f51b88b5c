"""Micrographs that show the same place are found, and others of the same look are not."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from microseg.micrographs.images import repeated_images, write_micrograph
from microseg.micrographs.overlaps import look_at, overlap_message, overlapping_images

HEIGHT, WIDTH = 192, 256
Grey = NDArray[np.uint8]


def place(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float64]:
    """Draw islands in a noisy matrix; all have the same look, and each seed is another place."""
    rng = np.random.default_rng(seed)
    islands = ndimage.gaussian_filter(rng.standard_normal((height, width)), 3)
    return 100 + 60 * (islands > islands.std()) + 8 * rng.standard_normal((height, width))


def grey(values: NDArray[np.float64]) -> Grey:
    return np.clip(values, 0, 255).astype(np.uint8)


def reported(tmp_path, pictures: dict[str, Grey], sides: dict[str, str] | None = None) -> list[tuple[str, str]]:
    for name, picture in pictures.items():
        write_micrograph(tmp_path / name, np.ascontiguousarray(picture))
    return overlapping_images(look_at(tmp_path, list(pictures)), sides or {name: name for name in pictures})


def noisier(picture: Grey) -> Grey:
    return grey(picture + np.random.default_rng(9).normal(0, 10, picture.shape))


@pytest.mark.parametrize("fraction", [0.4, 0.6, 0.9])
@pytest.mark.parametrize(
    "change", [np.asarray, np.flipud, np.rot90, lambda one: np.rot90(one[:, ::-1], 3), noisier]
)
def test_two_windows_of_one_place(tmp_path, fraction: float, change: Callable[[Grey], Grey]):
    whole = grey(place(1, 2 * HEIGHT, 2 * WIDTH))
    down, right = round(HEIGHT * (1 - fraction**0.5)), round(WIDTH * (1 - fraction**0.5))
    other = whole[down : down + HEIGHT, right : right + WIDTH]
    pictures = {"a.png": whole[:HEIGHT, :WIDTH], "b.png": change(other), "c.png": grey(place(2))}
    assert reported(tmp_path, pictures) == [("a.png", "b.png")]


@pytest.mark.parametrize("size", [(128, 96), (96, 128), (333, 250), (256, 192)])
def test_a_copy_in_another_size_or_on_its_side(tmp_path, size: tuple[int, int]):
    first = Image.fromarray(grey(place(1)))
    if size[0] < size[1]:
        first = first.transpose(Image.Transpose.ROTATE_90)
    pictures = {"a.png": grey(place(1)), "b.png": np.asarray(first.resize(size)), "c.png": grey(place(2))}
    assert reported(tmp_path, pictures) == [("a.png", "b.png")]


def test_a_smaller_crop(tmp_path):
    picture = grey(place(1))
    assert reported(tmp_path, {"a.png": picture, "b.png": picture[30:170, 60:220]}) == [("a.png", "b.png")]


def bars() -> dict[str, Grey]:
    pictures = {f"{seed}.png": grey(place(seed)) for seed in range(12)}
    for picture in pictures.values():
        picture[-16:] = grey(place(99, 16))
    return pictures


def lattices() -> dict[str, Grey]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rng = np.random.default_rng(0)
    return {
        f"{number}.png": grey(
            100 + 40 * np.sin(rows / 2 + number) * np.sin(columns / 2 + 2 * number) + rng.normal(0, 5, rows.shape)
        )
        for number in range(12)
    }


def shaded() -> dict[str, Grey]:
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    rng = np.random.default_rng(0)
    return {f"{n}.png": grey(180 - 60 * (rows**2 + columns**2) + rng.normal(0, 2, rows.shape)) for n in range(12)}


def blank() -> dict[str, Grey]:
    return {f"{number}.png": np.full((HEIGHT, WIDTH), 128 - number // 2, np.uint8) for number in range(4)}


@pytest.mark.parametrize(
    "pictures",
    [lambda: {f"{seed}.png": grey(place(seed)) for seed in range(25)}, bars, lattices, shaded, blank],
)
def test_other_places_are_not_reported(tmp_path, pictures: Callable[[], dict[str, Grey]]):
    assert reported(tmp_path, pictures()) == []


def test_an_overlap_is_found_beside_the_bar_of_all(tmp_path):
    whole = place(50, 2 * HEIGHT, WIDTH)
    pictures = bars() | {"x.png": grey(whole[:HEIGHT]), "y.png": grey(whole[60 : 60 + HEIGHT])}
    for name in ("x.png", "y.png"):
        pictures[name][-16:] = grey(place(99, 16))
    assert reported(tmp_path, pictures) == [("x.png", "y.png")]


def test_only_different_sides_are_compared(tmp_path):
    pictures = {"a.png": grey(place(1)), "b.png": noisier(grey(place(1))), "c.png": np.fliplr(grey(place(1)))}
    sides = {"a.png": "train", "b.png": "train", "c.png": "test"}
    assert reported(tmp_path, pictures, sides) == [("a.png", "c.png"), ("b.png", "c.png")]
    assert reported(tmp_path, pictures, dict.fromkeys(pictures, "train")) == []


def test_equal_pixels_in_different_files(tmp_path):
    for name, seed, level in (("a.png", 1, 0), ("b.png", 2, 1), ("c.png", 1, 9)):
        Image.fromarray(grey(place(seed))).save(tmp_path / name, compress_level=level)
    looks = look_at(tmp_path, ["c.png", "b.png", "a.png"])
    assert repeated_images({image: look.digest for image, look in looks.items()}) == [["a.png", "c.png"]]


def test_the_message_names_both_and_how_many_more():
    message = overlap_message([("a.png", "b.png"), ("a.png", "c.png")])
    assert "a.png and b.png show the same place" in message
    assert "(1 more pairs like this)" in message
    assert "split.allow_overlap" in message
