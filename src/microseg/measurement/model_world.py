"""Whether micrographs resemble those a model was trained on: a difference is evidence, likeness proves nothing."""

import math
from collections.abc import Mapping

from microseg.common.errors import InputError
from microseg.network.appearance import ENTROPY, QUANTITIES, Appearance

PIXEL_SIZE_TOLERANCE = 0.25
"""Micrographs whose pixel size differs from that of the training by a larger share are refused."""
MARGIN = 0.25
"""By how much of its own width the range of the training micrographs is widened on either side."""


def scale_factor(model_um: float | None, image: str, pixel_size_um: float | None, *, resample: bool) -> float:
    """Return by how much a micrograph is enlarged before the network sees it; 1 leaves it as it is.

    Args:
        model_um: side of a pixel of the training micrographs in micrometres, where it is known.
        image: the name of the micrograph.
        pixel_size_um: side of a pixel of the micrograph in micrometres, where it is known.
        resample: whether it is brought to the pixel size of the training.

    Raises:
        InputError: the pixel sizes differ by more than a quarter, and it is not to be resampled; or it is, but one
            of the two is not known.
    """
    if model_um is None or pixel_size_um is None:
        if resample:
            what = "the model's folder names no pixel size" if model_um is None else f"{image} has no pixel size"
            raise InputError(f"--resample: {what}, so that there is nothing to resample to; leave it out")
        return 1.0
    factor = pixel_size_um / model_um
    if resample:
        return factor
    if not 1 - PIXEL_SIZE_TOLERANCE <= factor <= 1 + PIXEL_SIZE_TOLERANCE:
        raise InputError(
            f"{image}: a pixel is {pixel_size_um:.4g} um, but in the training of the model it was "
            f"{model_um:.4g} um, so that islands look larger or smaller than it knows them; --resample brings "
            "them to its size"
        )
    return 1.0


def differences(looks: Mapping[str, float], appearance: Appearance) -> list[str]:
    """Return a warning for each quantity in which a micrograph lies outside of what the training has seen.

    That the network is surer than it was on the validation micrographs is no warning: it has seen training ones,
    and the mean of several symmetries is surer than each.
    """
    warnings = []
    for name, (low, high) in appearance.ranges.items():
        margin = MARGIN * (high - low)
        lowest = -math.inf if name == ENTROPY else low - margin
        if name in looks and not lowest <= looks[name] <= high + margin:
            warnings.append(
                f"differs from the training micrographs in {QUANTITIES[name]}: {looks[name]:.3g}, "
                f"there {low:.3g} to {high:.3g}"
            )
    return warnings


def seen_in_training(digest: str, appearance: Appearance) -> list[str]:
    """Return a warning where a micrograph was in the training set."""
    return ["in the training set, so that the model knows it"] if digest in appearance.digests else []


def duplicates(digests: Mapping[str, str]) -> dict[str, str]:
    """Return for each image whose pixels an earlier one has too a warning that names the earlier one."""
    first: dict[str, str] = {}
    warnings = {}
    for image, digest in digests.items():
        earlier = first.setdefault(digest, image)
        if earlier != image:
            warnings[image] = f"the same pixels as another field: {earlier}"
    return warnings
