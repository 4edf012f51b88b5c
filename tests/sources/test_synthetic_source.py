"""The synthetic source: published layout and dialect, one dataset per seed, and a task worth learning."""

import ast
import contextlib
import csv
import hashlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import closing, disk, opening

from microseg.common.params import SyntheticParams
from microseg.micrographs.images import read_micrograph
from microseg.sources.synthetic import GROUPS, write_synthetic

Polygons = dict[str, list[list[tuple[float, float]]]]

HEIGHT, WIDTH = 768, 1024


def draw(folder: Path, images: int, height: int = 128, width: int = 160, seed: int = 7, workers: int = 2) -> Path:
    folder.mkdir()
    write_synthetic(folder, SyntheticParams(images=images, height=height, width=width), seed, workers)
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def annotation_lines(folder: Path) -> list[str]:
    text = (folder / "annotations.csv").read_bytes().decode("ascii")
    assert text.endswith("\r\n")
    assert text.count("\n") == text.count("\r\n")
    return text.split("\r\n")[:-1]


def read_polygons(folder: Path) -> Polygons:
    polygons: Polygons = {}
    for line in annotation_lines(folder)[1:]:
        name, _, nodes = line.split(";")
        polygons.setdefault(name, []).append(ast.literal_eval(nodes))
    return polygons


def read_metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fill(polygons: list[list[tuple[float, float]]], height: int, width: int) -> NDArray[np.bool_]:
    mask = Image.new("1", (width, height))
    for nodes in polygons:
        ImageDraw.Draw(mask).polygon(nodes, fill=1, outline=1)
    return np.asarray(mask)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("synthetic") / "raw", images=40, height=HEIGHT, width=WIDTH, seed=2021)


@pytest.fixture(scope="module")
def masks(full_size: Path) -> dict[str, NDArray[np.bool_]]:
    return {name: fill(nodes, HEIGHT, WIDTH) for name, nodes in read_polygons(full_size).items()}


def test_one_seed_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    one_worker = digests(draw(tmp_path / "one", images=5, workers=1))
    assert len(one_worker) == 5 + 2
    assert digests(draw(tmp_path / "two", images=5, workers=2)) == one_worker


def test_workers_end_when_the_stage_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "stage.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom microseg.common.params import SyntheticParams\n"
        "from microseg.sources.synthetic import write_synthetic\n"
        "if __name__ == '__main__':\n"
        "    write_synthetic(Path(sys.argv[1]), SyntheticParams(images=9999, height=128, width=128), 7, 2)\n"
    )
    folder = tmp_path / "raw"
    folder.mkdir()
    stage = psutil.Popen(
        [sys.executable, script, folder],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    workers: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while not any(folder.glob("images/*.png")) and time.monotonic() < deadline:
            time.sleep(0.1)
        workers = stage.children(recursive=True)
        assert len(workers) >= 2
        stage.kill()
        stage.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive
    finally:
        for process in [stage, *workers]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_a_small_set_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    small, large = draw(tmp_path / "small", images=3), draw(tmp_path / "large", images=6)
    for table in ("annotations.csv", "metadata.csv"):
        assert (large / table).read_bytes().startswith((small / table).read_bytes())
    small_images, large_images = digests(small / "images"), digests(large / "images")
    assert small_images.items() < large_images.items()


def test_another_seed_gives_other_micrographs(tmp_path: Path) -> None:
    first, second = digests(draw(tmp_path / "first", images=2)), digests(draw(tmp_path / "second", 2, seed=8))
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_annotations_are_in_the_published_dialect(tmp_path: Path) -> None:
    folder = draw(tmp_path / "raw", images=12, height=300, width=400)
    header, *lines = annotation_lines(folder)
    assert header == "image_url;point;polygon"
    for line in lines:
        name, point, nodes = line.split(";")
        number = r"-?\d+(\.\d+)?"
        assert re.fullmatch(r"IMG_\d{5}\.png", name)
        assert re.fullmatch(r"\(\d+, \d+\)", point)
        assert re.fullmatch(rf"\[\({number}, {number}\)(, \({number}, {number}\))+\]", nodes)
        clicks = ast.literal_eval(nodes)
        assert len(set(clicks)) >= 4
        assert all(click != following for click, following in pairwise(clicks))
        assert all(-2 <= x <= 401 and -2 <= y <= 301 for x, y in clicks)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (131, 257), (512, 512)])
def test_every_micrograph_of_any_size_is_annotated(tmp_path: Path, height: int, width: int) -> None:
    folder = draw(tmp_path / "raw", images=8, height=height, width=width)
    names = [f"IMG_{number:05d}.png" for number in range(1, 9)]
    assert list(read_polygons(folder)) == names
    assert [row["image_url"] for row in read_metadata(folder)] == names
    for name in names:
        micrograph = read_micrograph(folder / "images" / name)
        assert micrograph.shape == (height, width)
        assert micrograph.std() > 5


def test_metadata_has_the_published_columns_and_known_groups(full_size: Path) -> None:
    rows = read_metadata(full_size)
    columns = ["image_url", "type", "temperature", "direction", "distance", "magnification", "angle"]
    assert list(rows[0]) == columns
    groups = Counter((row["type"], int(row["temperature"])) for row in rows)
    assert groups.keys() <= {(group.type, group.temperature) for group in GROUPS}
    assert len(groups) >= 6
    assert max(groups.values()) >= 3 * min(groups.values())


def test_groups_differ_in_brightness(full_size: Path) -> None:
    brightness: dict[tuple[str, str], list[float]] = {}
    for row in read_metadata(full_size):
        micrograph = read_micrograph(full_size / "images" / row["image_url"])
        brightness.setdefault((row["type"], row["temperature"]), []).append(float(micrograph.mean()))
    means = [np.mean(values) for values in brightness.values()]
    within = np.mean([np.std(values) for values in brightness.values() if len(values) > 1])
    assert np.std(means) > within


def test_islands_are_as_many_and_as_large_as_published(
    full_size: Path, masks: dict[str, NDArray[np.bool_]]
) -> None:
    polygons = read_polygons(full_size)
    numbers = [len(nodes) for nodes in polygons.values()]
    assert min(numbers) >= 1
    assert max(numbers) <= 22
    assert 4 <= np.mean(numbers) <= 6.5
    foreground = [mask.mean() for mask in masks.values()]
    assert min(foreground) > 0.0003
    assert max(foreground) < 0.40
    assert 0.05 < np.mean(foreground) < 0.09
    assert 20 <= np.median([len(nodes) for island in polygons.values() for nodes in island]) <= 36


def test_many_micrographs_have_an_island_at_the_border(masks: dict[str, NDArray[np.bool_]]) -> None:
    at_border = [
        mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any() for mask in masks.values()
    ]
    assert 0.4 < np.mean(at_border) < 0.95


def test_polygons_lie_on_the_bright_rims(full_size: Path, masks: dict[str, NDArray[np.bool_]]) -> None:
    for name, mask in masks.items():
        micrograph = read_micrograph(full_size / "images" / name).astype(float)
        rim = mask & ~ndimage.binary_erosion(mask, iterations=2, border_value=1)
        near = ndimage.binary_dilation(mask, iterations=10)
        around = near & ~ndimage.binary_dilation(mask, iterations=4)
        inside = ndimage.binary_erosion(mask, iterations=5, border_value=1)
        assert micrograph[rim].mean() > micrograph[around].mean() + 20
        assert not inside.any() or micrograph[rim].mean() > micrograph[inside].mean() + 10


def test_brightness_alone_does_not_find_the_islands(full_size: Path, masks: dict[str, NDArray[np.bool_]]) -> None:
    scores = []
    for name, mask in masks.items():
        micrograph = read_micrograph(full_size / "images" / name)
        bright = closing(opening(micrograph > threshold_otsu(micrograph), disk(3)), disk(3))
        scores.append((bright & mask).sum() / (bright | mask).sum())
    assert np.mean(scores) < 0.3
