"""Masks that are hard to outline, the files written of them, and the filling rules of other programs."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage
from tifffile import imwrite

from microseg.measurement.islands import label_islands
from microseg.measurement.outlines import FORMATS, write_outlines

IMAGEJ = Path("/usr/share/java/ij.jar")
SIZE = (40, 50)


def awkward_masks():
    """Return masks (40, 50): holes within holes, islands at all borders, of one pixel, and joined at corners."""
    drawn = np.zeros(SIZE, bool)
    drawn[0, 0] = drawn[39, 49] = drawn[20, 0] = drawn[5, 47] = True  # islands of one pixel
    drawn[0, 20:30] = drawn[10:15, 49] = drawn[36:40, 3:9] = True  # at the borders
    drawn[8:30, 5:40] = True
    drawn[10:28, 8:20] = drawn[12, 25] = drawn[13, 26] = drawn[14:20, 30] = False  # holes, two joined at a corner
    drawn[15:20, 10:18] = True
    drawn[17, 12:14] = False  # an island in a hole, with a hole
    diamond = np.zeros(SIZE, bool)
    for step in range(9):  # a closed chain of pixels that touch at corners only
        diamond[11 + step, 20 + step] = diamond[11 + step, 20 - step] = True
        diamond[27 - step, 20 + step] = diamond[27 - step, 20 - step] = True
    rng = np.random.default_rng(0)
    noisy = [rng.random(SIZE) < fraction for fraction in (0.1, 0.4, 0.6, 0.9)]
    fields = [np.abs(ndimage.gaussian_filter(rng.standard_normal(SIZE), sigma)) for sigma in (1, 2, 3)]
    return [
        drawn,
        diamond,
        np.ones(SIZE, bool),
        np.zeros(SIZE, bool),
        *noisy,
        *(one > np.median(one) for one in fields),
    ]


def write_outlines_of(folder, masks, bar=0, label="island", formats=FORMATS):
    """Write the outlines of masks 0, 1, ... in the given formats, each of a micrograph with `bar` rows more."""
    images = []
    for number, mask in enumerate(masks):
        _, labels = label_islands(mask, 0)
        (folder / "results/labels").mkdir(parents=True, exist_ok=True)
        imwrite(folder / f"results/labels/{number}.tif", labels.astype(np.uint16))
        path, (height, width) = folder / f"micrographs/{number}.png", mask.shape
        images.append(SimpleNamespace(name=path.name, stem=path.stem, path=path, height=height + bar, width=width))
    write_outlines(folder / "results", images, formats, label)


def fill_like_labelme(shape, size):
    """Return the mask of a polygon as `labelme.utils.shape_to_mask` of LabelMe 5 draws it."""
    image = Image.fromarray(np.zeros(size, np.uint8))
    ImageDraw.Draw(image).polygon(xy=[tuple(point) for point in shape["points"]], outline=1, fill=1)
    return np.array(image, dtype=bool)


def run_imagej(folder, macro):
    """Run a macro of the real ImageJ; skip the test where it is not installed."""
    if not (IMAGEJ.exists() and shutil.which("xvfb-run")):
        pytest.skip("ImageJ is not installed (Debian packages imagej and xvfb)")
    (folder / "macro.ijm").write_text(f"setBatchMode(true);\n{macro}")
    command = ["xvfb-run", "-a", "java", "-cp", IMAGEJ, "ij.ImageJ", "-batch", folder / "macro.ijm"]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
