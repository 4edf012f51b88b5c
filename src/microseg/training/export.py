"""What is exported with a trained model: temperature, best threshold, and statistics of its micrographs."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from microseg.common.files import write_json
from microseg.common.params import TrainParams
from microseg.evaluation.calibration import LOGITS, best_logit, count_logits, fit_temperature, iou_above
from microseg.micrographs.images import read_micrograph
from microseg.network.batch_norm import fuse_conv_bn
from microseg.network.image_statistics import (
    ENTROPY,
    STATISTICS_FILE,
    ImageStatistics,
    entropy,
    image_statistics,
    pixel_digest,
)
from microseg.network.inputs import MaskedMicrographs, network_input, upsample
from microseg.network.model_io import read_model
from microseg.network.networks import build_network
from microseg.network.sliding_window import Tiling, tiled_logits


def calibrate(
    fabric: Fabric,
    weights: dict[str, Tensor],
    validation: MaskedMicrographs,
    params: TrainParams,
    tiling: Tiling,
) -> tuple[float, float]:
    """Return the temperature of the logits of a network with these `weights`, and their best threshold.

    The best threshold, of logits that are not divided by the temperature, has the highest mean IoU. Both are
    fitted on the validation micrographs, on this device alone, with the tiles of the validation and without TTA.
    """
    network = build_network(params)
    network.load_state_dict(weights)
    module = fabric.to_device(fuse_conv_bn(network))
    counts, curves = np.zeros((2, LOGITS.size), dtype=np.int64), np.zeros(LOGITS.size)
    for index in range(len(validation.names)):
        micrograph, mask = validation.read(index)
        inputs = fabric.to_device(
            network_input(micrograph, params.input_normalization, factor=params.downsample)[None]
        )
        with torch.inference_mode(), fabric.autocast():
            logits = upsample(tiled_logits(module, inputs, tiling), micrograph.shape)
        own_counts = count_logits(mask, logits[0, 0].float().cpu().numpy())
        counts += own_counts
        curves += iou_above(own_counts) / len(validation.names)
    return fit_temperature(counts), best_logit(curves)


ENTROPY_MICROGRAPHS = 32
"""The number of validation micrographs, at most, on which the usual entropy of the network is measured."""


def write_image_statistics(
    fabric: Fabric, folder: Path, training: MaskedMicrographs, validation: MaskedMicrographs
) -> None:
    """Write the statistics of the training micrographs into the folder of a model, beside weights and card.

    The entropy is that of the model's own predictions of validation micrographs, on the device of `fabric`.
    """
    statistics, digests = [], []
    for micrograph in _micrographs(training):
        statistics.append(image_statistics(micrograph))
        digests.append(pixel_digest(micrograph))
    ranges = {name: _range([one[name] for one in statistics]) for name in statistics[0]}
    ranges[ENTROPY] = _range(_entropies(fabric, folder, validation))
    write_json(folder / STATISTICS_FILE, asdict(ImageStatistics(ranges, tuple(digests))))


def _micrographs(files: MaskedMicrographs) -> Iterator[NDArray[np.uint8]]:
    return (read_micrograph(files.images / name) for name in files.names)


def _entropies(fabric: Fabric, folder: Path, validation: MaskedMicrographs) -> list[float]:
    network, card = read_model(folder)
    module = fabric.to_device(network)
    # A subset of a large set is enough, such as every tenth micrograph.
    step = -(-len(validation.names) // ENTROPY_MICROGRAPHS)
    subset = replace(validation, names=validation.names[::step])
    values = []
    for micrograph in _micrographs(subset):
        inputs = fabric.to_device(
            network_input(micrograph, card.input_normalization, factor=card.downsample)[None]
        )
        with torch.inference_mode(), fabric.autocast():
            logits = upsample(module(inputs), micrograph.shape)
        values.append(entropy(torch.sigmoid(logits.float() / card.temperature).cpu().numpy()))
    return values


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)
