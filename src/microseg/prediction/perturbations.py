"""Micrographs as another day at the microscope would bring them, and how well a network segments these.

The perturbations are moderate, about as strong as the weakest of Hendrycks and Dietterich (Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations, ICLR 2019).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from skimage.exposure import adjust_gamma
from skimage.filters import gaussian
from skimage.util import img_as_ubyte, random_noise

from microseg.common.params import PredictParams
from microseg.common.progress import progress
from microseg.common.randomness import generator
from microseg.evaluation.robustness import PLAIN, Robustness
from microseg.evaluation.scores import calculate_iou
from microseg.network.batch_norm import fuse_conv_bn
from microseg.network.inputs import MaskedMicrographs, resize, upsample_array
from microseg.network.memory import PREDICTION_REMEDIES, out_of_memory_advice
from microseg.network.model_card import ModelCard
from microseg.network.networks import Network
from microseg.prediction.inference import predict_micrograph
from microseg.prediction.postprocessing import sigmoid_mask

Micrograph = NDArray[np.uint8]

BRIGHTNESS = 0.1
"""Shift of the grey values, as a fraction of their range."""
CONTRAST = 1.5
"""Factor, or divisor, of the differences of the grey values from their mean."""
GAMMA = 1.5
"""Exponent, or its inverse, of the grey values 0 to 1."""
BLUR_SIGMA = 1.5
"""Standard deviation of a Gaussian blur in pixels of the micrograph."""
NOISE_STD = 0.05
"""Standard deviation of Gaussian noise, as a fraction of the range of grey values."""
MAGNIFICATION = 1.25
"""Factor, or divisor, of the height and width."""


def perturbations(micrograph: Micrograph, name: str) -> Iterator[tuple[str, Micrograph]]:
    """Yield a micrograph, (height, width) of 0 to 255, as PLAIN, then perturbed in each way, with its name.

    The noise is the same for the same `name` of the micrograph. Magnification changes the size.
    """
    yield PLAIN, micrograph
    yield "darker", change_grey(micrograph, shift=-BRIGHTNESS)
    yield "brighter", change_grey(micrograph, shift=BRIGHTNESS)
    yield "lower contrast", change_grey(micrograph, contrast=1 / CONTRAST)
    yield "higher contrast", change_grey(micrograph, contrast=CONTRAST)
    yield "lower gamma", adjust_gamma(micrograph, 1 / GAMMA)
    yield "higher gamma", adjust_gamma(micrograph, GAMMA)
    yield "blur", np.rint(gaussian(micrograph, BLUR_SIGMA, preserve_range=True)).astype(np.uint8)
    noise = generator(0, "noise", name)
    yield "noise", img_as_ubyte(random_noise(micrograph, "gaussian", rng=noise, var=NOISE_STD**2))
    yield "lower magnification", magnify(micrograph, 1 / MAGNIFICATION)
    yield "higher magnification", magnify(micrograph, MAGNIFICATION)


def change_grey(micrograph: Micrograph, contrast: float = 1.0, shift: float = 0.0) -> Micrograph:
    """Multiply the differences from the mean grey by `contrast`, add `shift` of the range, clip to 0 to 255."""
    mean = float(micrograph.mean())
    values = (np.arange(256) - mean) * contrast + mean + 255 * shift
    table: Micrograph = np.rint(values).clip(0, 255).astype(np.uint8)
    return table[micrograph]


def magnify(micrograph: Micrograph, factor: float) -> Micrograph:
    """Return a micrograph with height and width multiplied by `factor`."""
    height, width = (max(1, round(side * factor)) for side in micrograph.shape)
    return resize(micrograph, (height, width))


def measure_robustness(
    fabric: Fabric,
    network: Network,
    card: ModelCard,
    micrographs: MaskedMicrographs,
    split: str,
    groups: Sequence[str],
    params: PredictParams,
    threshold: float,
) -> Robustness:
    """Predict at least one micrograph plain and perturbed, and measure the sigmoid masks.

    Args:
        fabric: the device.
        network: the network, with its `card`.
        card: its model card.
        micrographs: those to perturb, with their annotated masks.
        split: the split that they are of.
        groups: the group of each, "" for none.
        params: how to predict.
        threshold: the probability above which a pixel is foreground.

    Raises:
        InputError: a micrograph or mask is missing or cannot be read, or there is not enough memory.
    """
    iou: dict[str, list[float]] = {}
    with out_of_memory_advice("prediction", PREDICTION_REMEDIES):
        module = fabric.to_device(fuse_conv_bn(network))
        for index, image in enumerate(progress(micrographs.names, "perturbed micrographs")):
            micrograph, truth = micrographs.read(index)
            for name, perturbed in perturbations(micrograph, image):
                logits = predict_micrograph(fabric, module, card, perturbed, params)
                mask = sigmoid_mask(upsample_array(logits, truth.shape), threshold)
                iou.setdefault(name, []).append(calculate_iou(truth, mask))
    by_name = {name: np.array(values) for name, values in iou.items()}
    return Robustness(split, tuple(groups), by_name.pop(PLAIN), by_name)
