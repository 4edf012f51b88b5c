"""What is exported with a trained model: temperature, best threshold, and statistics of its micrographs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from microseg.common.files import write_json
from microseg.common.parallel import map_in_processes
from microseg.common.params import TrainParams
from microseg.common.progress import progress
from microseg.evaluation.calibration import LOGITS, best_logit, count_logits, fit_temperature, iou_above
from microseg.micrographs.pixel_size import PixelSize
from microseg.network.batch_norm import fuse_conv_bn
from microseg.network.image_statistics import ENTROPY, STATISTICS_FILE, ImageStatistics, measure_file
from microseg.network.image_statistics import entropy as entropy_of
from microseg.network.inputs import MaskedMicrographs, network_input, upsample
from microseg.network.memory import VALIDATION_REMEDIES, out_of_memory_advice
from microseg.network.model_card import IMAGENET, Pretraining
from microseg.network.networks import build_network
from microseg.network.sliding_window import Tiling, tiled_logits

Range = tuple[float, float]
"""Minimum and maximum."""


class Calibration(NamedTuple):
    """What the logits of the validation micrographs say of a network."""

    temperature: float
    """The number by which to divide logits so that their sigmoid is a calibrated probability."""
    best_logit: float
    """The threshold of logits, not divided by the temperature, that gives the highest mean IoU."""
    entropy: Range
    """Of the calibrated probabilities of single micrographs, the mean entropy of their pixels in bits."""


def calibrate(
    fabric: Fabric,
    weights: dict[str, Tensor],
    validation: MaskedMicrographs,
    params: TrainParams,
    tiling: Tiling,
    pretraining: Pretraining = IMAGENET,
) -> Calibration:
    """Return the calibration of a network with these `weights`, from one pass over the validation micrographs.

    They are predicted on this device alone, in the tiles of the validation and without TTA.
    """
    network = build_network(params, pretraining)
    network.load_state_dict(weights)
    module = fabric.to_device(fuse_conv_bn(network))
    counts = []
    with out_of_memory_advice("calibration", VALIDATION_REMEDIES):
        for index in progress(range(len(validation.names)), "calibration"):
            micrograph, mask = validation.read(index)
            inputs = network_input(micrograph, params.input_normalization, factor=params.downsample)
            with torch.inference_mode(), fabric.autocast():
                logits = upsample(tiled_logits(module, fabric.to_device(inputs[None]), tiling), micrograph.shape)
            counts.append(count_logits(mask, logits[0, 0].float().cpu().numpy()))
    temperature = fit_temperature(np.sum(counts, axis=0))
    probabilities = 1 / (1 + np.exp(-LOGITS / temperature))
    return Calibration(
        temperature,
        best_logit(np.mean([iou_above(one) for one in counts], axis=0)),
        _range([entropy_of(probabilities, one.sum(axis=0)) for one in counts]),
    )


def write_image_statistics(
    folder: Path,
    training: MaskedMicrographs,
    entropy: Range,
    earlier: Sequence[str] = (),
    pixel_size: PixelSize | None = None,
) -> None:
    """Write the statistics of the training micrographs into the folder of a model.

    `entropy` is that of the model on the validation micrographs, and `earlier` are the digests of what the model
    it started from was trained on.
    """
    paths = [training.images / name for name in training.names]
    statistics, digests = zip(*map_in_processes(measure_file, paths, "image statistics"), strict=True)
    ranges = {name: _range([one[name] for one in statistics]) for name in statistics[0]}
    seen = tuple(dict.fromkeys((*digests, *earlier)))
    scale = (pixel_size.micrometres, pixel_size.source) if pixel_size else (None, "")
    write_json(folder / STATISTICS_FILE, asdict(ImageStatistics(ranges | {ENTROPY: entropy}, seen, *scale)))


def _range(values: Sequence[float]) -> Range:
    return min(values), max(values)
