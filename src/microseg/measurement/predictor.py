"""The network of a model, ready to turn micrographs into logits."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microseg.measurement.settings import Settings
from microseg.network.devices import describe, start
from microseg.network.inputs import network_input
from microseg.network.model_card import read_model
from microseg.prediction.inference import predict, predict_in_all_symmetries
from microseg.prediction.logits import LARGEST

# Larger pictures are predicted in tiles, whatever was asked for, so that memory is enough.
LARGEST_WHOLE, TILE_OF_MOSAICS = 4_000_000, 1024


class Predictor:
    """The network of the model in `folder`, on the best device of this machine."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        network, self.card = read_model(folder)
        self._fabric = start("auto", "auto")
        self._network = self._fabric.to_device(network)
        self._settings = settings

    @property
    def device(self) -> str:
        """Device and precision, for the record."""
        return f"{describe(self._fabric.device)}, {self._fabric.strategy.precision.precision}"

    @property
    def pixel_size_um(self) -> float | None:
        """Side of a pixel of the training micrographs in micrometres, where the model says so."""
        size = self.card.training.get("pixel_size_um")
        return None if size is None else float(size)

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
        tile = self._settings.tile
        if tile is None and micrograph.size > LARGEST_WHOLE:
            tile = TILE_OF_MOSAICS
        function = predict_in_all_symmetries if self._settings.symmetries else predict
        inputs = self._fabric.to_device(network_input(micrograph, self.card.normalization)[None])
        with self._fabric.autocast():
            logits = function(self._network, inputs, tile, self._settings.overlap)
        values: NDArray[np.float32] = logits[0, 0].cpu().numpy()
        return np.clip(values, -LARGEST, LARGEST).astype(np.float16)
