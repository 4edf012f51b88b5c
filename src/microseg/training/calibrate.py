"""What the validation micrographs say of a trained network's logits: how bold they are, and where to cut them."""

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from microseg.common.params import TrainParams
from microseg.evaluation.calibration import LOGITS, best_logit, count_logits, fit_temperature, iou_above
from microseg.network.inputs import MaskedMicrographs, network_input
from microseg.network.networks import build_network
from microseg.network.normalisation import folded
from microseg.network.resolution import enlarged
from microseg.network.tiles import Tiling, tiled_logits


def calibrate(
    fabric: Fabric,
    weights: dict[str, Tensor],
    validation: MaskedMicrographs,
    params: TrainParams,
    tiling: Tiling,
) -> tuple[float, float]:
    """Return the temperature of the logits of a network with these `weights`, and the best logit to cut at.

    Foreground above the second gives the highest mean IoU.

    Both are fitted on the validation micrographs, on this device alone; the second is of logits that are not
    divided by the first. Micrographs are predicted in pieces as in the validation, without symmetries.
    """
    network = build_network(params)
    network.load_state_dict(weights)
    module = fabric.to_device(folded(network))
    counts, curves = np.zeros((2, LOGITS.size), dtype=np.int64), np.zeros(LOGITS.size)
    for index in range(len(validation.names)):
        micrograph, mask = validation.read(index)
        inputs = fabric.to_device(network_input(micrograph, params.grey_values, scale=params.scale)[None])
        with torch.inference_mode(), fabric.autocast():
            logits = enlarged(tiled_logits(module, inputs, tiling), micrograph.shape)
        counted = count_logits(mask, logits[0, 0].float().cpu().numpy())
        counts += counted
        curves += iou_above(counted) / len(validation.names)
    return fit_temperature(counts), best_logit(curves)
