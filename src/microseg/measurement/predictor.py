"""The network of a model, ready to turn micrographs into logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from microseg.measurement.settings import Settings
from microseg.network.batch_norm import fuse_conv_bn
from microseg.network.devices import start, trim_memory
from microseg.network.environment import current_environment
from microseg.network.inputs import GreyStatistics, downsample, grey_statistics, network_input, upsample_array
from microseg.network.model_io import read_model
from microseg.network.sliding_window import Tiling
from microseg.prediction.inference import predict, predict_d4
from microseg.prediction.logits import LARGEST

# Larger pictures are predicted in tiles, whatever was asked for, and a band of rows at a time, so that memory is
# enough. Bands overlap by more than the network sees around a pixel.
LARGEST_WHOLE, TILE_OF_MOSAICS = 4_000_000, 1024
BAND_ROWS, BAND_MARGIN = 2048, 256

PIXELS_AT_ONCE = 2 * LARGEST_WHOLE
"""So many pixels at most are predicted at a time in several micrographs; a larger one alone."""


class Predictor:
    """The network of the model in `folder`, on the best device of this machine."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        network, self.card = read_model(folder)
        self._fabric = start("auto", "auto")
        self._network = self._fabric.to_device(fuse_conv_bn(network))
        self._settings = settings

    @property
    def environment(self) -> dict[str, str]:
        """Device, precision and libraries, for the record."""
        return asdict(current_environment(self._fabric))

    @property
    def pixel_size_um(self) -> float | None:
        """Side of a pixel of the training micrographs in micrometres, where the model says so."""
        size = self.card.training.get("pixel_size_um")
        return None if size is None else float(size)

    @contextmanager
    def cores_shared(self, largest: float) -> Iterator[int]:
        """Share the cores out among the threads that begin within, and yield how many these should be.

        With a core each, on micrographs of their own, they do not wait for each other, but take more memory.

        Args:
            largest: pixels of the largest micrograph.
        """
        cores = torch.get_num_threads()
        threads = max(1, min(cores, int(PIXELS_AT_ONCE / largest)))
        torch.set_num_threads(cores // threads)
        try:
            yield threads
        finally:
            torch.set_num_threads(cores)

    def give_back_memory(self) -> None:
        """Give the system back what memory the network has taken and does not need between two micrographs."""
        trim_memory()

    def logits(self, micrograph: NDArray[np.uint8], factor: float = 1.0) -> NDArray[np.float16]:
        """Return the logits of a micrograph, (height, width), rounded as the stage predict writes them.

        With another `factor` than 1 the network sees the micrograph enlarged by it; the logits have its own size.
        """
        if factor != 1.0:
            height, width = micrograph.shape
            seen = Image.fromarray(micrograph).resize(
                (max(1, round(width * factor)), max(1, round(height * factor))), Image.Resampling.LANCZOS
            )
            found = Image.fromarray(self.logits(np.asarray(seen)).astype(np.float32))
            return np.asarray(found.resize((width, height), Image.Resampling.BILINEAR)).astype(np.float16)
        small = downsample(micrograph, self.card.downsample)
        if small.size <= LARGEST_WHOLE:
            logits: NDArray[np.floating] = self._predict(small, grey_statistics(small), self._settings.tile_size)
        else:
            logits = self._predict_in_bands(small, self._settings.tile_size or TILE_OF_MOSAICS)
        return rounded(upsample_array(logits, micrograph.shape))

    def _predict_in_bands(self, micrograph: NDArray[np.uint8], tile: int) -> NDArray[np.float16]:
        statistics = grey_statistics(micrograph)
        logits = np.empty(micrograph.shape, np.float16)
        for top in range(0, len(micrograph), BAND_ROWS):
            first = max(0, top - BAND_MARGIN)
            band = self._predict(micrograph[first : top + BAND_ROWS + BAND_MARGIN], statistics, tile)
            logits[top : top + BAND_ROWS] = rounded(band)[top - first : top - first + BAND_ROWS]
        trim_memory()  # what the network took, for what measuring takes
        return logits

    def _predict(
        self, micrograph: NDArray[np.uint8], statistics: GreyStatistics, tile: int | None
    ) -> NDArray[np.float32]:
        function = predict_d4 if self._settings.tta else predict
        inputs = network_input(micrograph, self.card.input_normalization, statistics)[None]
        with self._fabric.autocast():
            logits = function(
                self._network, self._fabric.to_device(inputs), Tiling(tile, self._settings.tile_overlap)
            )
        # So that the probabilities are true ones; it does not move the limit of 0.5.
        values: NDArray[np.float32] = (logits[0, 0] / self.card.temperature).cpu().numpy()
        return values


def rounded(logits: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return logits as the stage predict writes them; what it is given is cut to their range in place."""
    return np.clip(logits, -LARGEST, LARGEST, out=logits).astype(np.float16, copy=False)
