"""Whether micrographs resemble those a model was trained on: a difference is evidence, likeness proves nothing."""

from collections.abc import Mapping

from microseg.network.appearance import QUANTITIES, Appearance

MARGIN = 0.25
"""By how much of its own width the range of the training micrographs is widened on either side."""


def differences(looks: Mapping[str, float], appearance: Appearance) -> list[str]:
    """Return a warning for each quantity in which a micrograph lies outside of what the training has seen."""
    warnings = []
    for name, (low, high) in appearance.ranges.items():
        margin = MARGIN * (high - low)
        if name in looks and not low - margin <= looks[name] <= high + margin:
            warnings.append(
                f"unlike the training micrographs in its {QUANTITIES[name]}: {looks[name]:.3g}, "
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
