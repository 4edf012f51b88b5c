"""The network of a model, ready to turn micrographs into logits."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from microseg.measurement.settings import Settings
from microseg.micrographs.valid_area import ValidArea, bounding_box
from microseg.network.batch_norm import fuse_conv_bn
from microseg.network.devices import start, trim_memory
from microseg.network.environment import current_environment
from microseg.network.inputs import GreyStatistics, downsample, grey_statistics, network_input, upsample_array
from microseg.network.model_io import read_model
from microseg.network.sliding_window import WHOLE, blended_rows
from microseg.prediction.inference import predict, predict_d4
from microseg.prediction.logits import LARGEST

LARGEST_WHOLE, MOSAIC_TILE_SIZE = 4_000_000, 1024
"""Images of more pixels, such as mosaics, are always predicted in tiles, a row of tiles at a time."""

RELEASE_MEMORY_EVERY = 100
"""Micrographs after which freed memory returns to the system: taking it again costs as much as two or three."""

PIXELS_AT_ONCE = 2 * LARGEST_WHOLE
"""Micrographs predicted at the same time have at most this many pixels in total; a larger one runs alone."""


class Predictor:
    """The network of the model in `folder`, on the best available device."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        network, self.card = read_model(folder)
        self._fabric = start("auto", "auto")
        self._network = self._fabric.to_device(fuse_conv_bn(network))
        self._settings, self._number = settings, itertools.count(1)
        self._predict_batch = predict_d4 if settings.tta else predict

    @property
    def environment(self) -> dict[str, str]:
        """Device, precision and libraries, for the provenance."""
        return asdict(current_environment(self._fabric))

    @contextmanager
    def share_cores(self, largest: float) -> Iterator[int]:
        """Divide the cores among threads started within, and yield how many threads to start.

        One thread a core, each on a micrograph of its own, is fastest: none waits for another. It takes the most
        memory, so that large micrographs get fewer threads of several cores.

        Args:
            largest: number of pixels of the largest micrograph, as the network sees it.
        """
        cores = torch.get_num_threads()
        threads = max(1, min(cores, int(PIXELS_AT_ONCE / largest)))
        torch.set_num_threads(cores // threads)
        try:
            yield threads
        finally:
            torch.set_num_threads(cores)

    def logits(
        self, micrograph: NDArray[np.uint8], factor: float = 1.0, valid: ValidArea | None = None
    ) -> NDArray[np.float16]:
        """Return the logits of a micrograph, rounded as the stage predict writes them.

        Args:
            micrograph: (height, width) of grey values.
            factor: the network sees the micrograph enlarged by this factor; the logits keep its own size.
            valid: (height, width), where the micrograph shows the specimen; None for everywhere. Elsewhere the
                logits are those of background, and the network sees the mean grey of the specimen.

        Returns:
            (height, width).
        """
        # Freed memory is fragmented; if it were kept, it would grow with the number of micrographs.
        if next(self._number) % RELEASE_MEMORY_EVERY == 0:
            trim_memory()
        if valid is None:
            return self._logits(micrograph, factor, 1.0)
        box = bounding_box(valid)
        inside, part = valid[box], micrograph[box].copy()
        part[~inside] = round(float(part[inside].mean()))
        logits = np.full(micrograph.shape, -LARGEST, np.float16)
        logits[box][inside] = self._logits(part, factor, float(inside.mean()))[inside]
        return logits

    def _logits(self, micrograph: NDArray[np.uint8], factor: float, specimen: float) -> NDArray[np.float16]:
        """Return the logits of a micrograph of which a fraction, `specimen`, does not have the mean grey."""
        if factor != 1.0:
            height, width = micrograph.shape
            resized = Image.fromarray(micrograph).resize(
                (max(1, round(width * factor)), max(1, round(height * factor))), Image.Resampling.LANCZOS
            )
            resized_logits = Image.fromarray(self._logits(np.asarray(resized), 1.0, specimen).astype(np.float32))
            return np.asarray(resized_logits.resize((width, height), Image.Resampling.BILINEAR)).astype(np.float16)
        small = downsample(micrograph, self.card.downsample)
        mean, std = grey_statistics(small)
        statistics = GreyStatistics(mean, np.float32(std / math.sqrt(specimen)))
        side = self._settings.tile_size or (MOSAIC_TILE_SIZE if small.size > LARGEST_WHOLE else None)
        logits = self._tiled(small, statistics, side) if side else self._whole(small, statistics)
        return _to_float16(upsample_array(logits, micrograph.shape))

    def _whole(self, micrograph: NDArray[np.uint8], statistics: GreyStatistics) -> NDArray[np.floating]:
        inputs = network_input(micrograph, self.card.input_normalization, statistics)[None]
        with self._fabric.autocast():
            logits = self._predict_batch(self._network, self._fabric.to_device(inputs), WHOLE)
        return self._calibrated(logits)

    def _tiled(self, micrograph: NDArray[np.uint8], statistics: GreyStatistics, side: int) -> NDArray[np.floating]:
        """Predict a micrograph in tiles, in the memory of one row of them; augmentation turns each tile."""
        missing = [max(0, side - length) for length in micrograph.shape]
        above, left = (pixels // 2 for pixels in missing)
        margins = ((above, missing[0] - above), (left, missing[1] - left))
        padded = np.pad(micrograph, margins, mode="edge") if any(missing) else micrograph

        def read(rows: slice) -> Tensor:
            inputs = network_input(padded[rows], self.card.input_normalization, statistics)[None]
            return self._fabric.to_device(inputs)

        def network(tile: Tensor) -> Tensor:
            with self._fabric.autocast():
                return self._predict_batch(self._network, tile, WHOLE)

        logits, top = np.empty(padded.shape, np.float16), 0
        for strip in blended_rows(network, read, len(padded), side, self._settings.tile_overlap):
            rows = _to_float16(self._calibrated(strip))
            logits[top : top + len(rows)] = rows
            top += len(rows)
        trim_memory()  # measuring needs it next
        return logits[above : above + micrograph.shape[0], left : left + micrograph.shape[1]]

    def _calibrated(self, logits: Tensor) -> NDArray[np.float32]:
        # Calibrates the probabilities; the mask of those above 0.5 stays the same.
        values: NDArray[np.float32] = (logits[0, 0] / self.card.temperature).cpu().numpy()
        return values


def _to_float16(logits: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return logits as the stage predict writes them; clips the given array to their range in place."""
    return np.clip(logits, -LARGEST, LARGEST, out=logits).astype(np.float16, copy=False)
