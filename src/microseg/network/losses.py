"""Losses on logits: no network of this package ends in a sigmoid, and no loss expects one.

Each loss maps logits, (batch, 1, height, width) of any floating type, and masks of the same shape, 0 to 1, to one
float32 value a micrograph, (batch,). Because losses are those of single micrographs and not of batches, the
gradient of a step does not depend on how its micrographs are spread over batches and devices.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]

BCE_WEIGHT, DICE_WEIGHT = 0.7, 0.3


def bce(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the pixels of each micrograph."""
    pixels = functional.binary_cross_entropy_with_logits(logits.float(), masks.float(), reduction="none")
    return pixels.mean(dim=(1, 2, 3))


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """One minus the soft Dice coefficient of each micrograph (Wang et al., MICCAI 2023, arXiv:2303.16296).

    Probability and fraction of foreground overlap by the smaller of the two. On the outlines of downsampled masks
    their product, the same in binary masks, would pull predictions from the right fraction to 0 or 1. One pixel is
    added to the overlap and to the areas: for a mask without foreground the gradient stays finite.
    """
    foreground = torch.sigmoid(logits.float())
    ground_truth = masks.float()
    overlap = torch.minimum(foreground, ground_truth).sum(dim=(1, 2, 3))
    areas = foreground.sum(dim=(1, 2, 3)) + ground_truth.sum(dim=(1, 2, 3))
    return 1 - (2 * overlap + 1) / (areas + 1)


def dice_bce(logits: Tensor, masks: Tensor) -> Tensor:
    """0.7 times the binary cross-entropy plus 0.3 times the Dice loss."""
    return BCE_WEIGHT * bce(logits, masks) + DICE_WEIGHT * dice(logits, masks)


LOSSES: dict[str, Loss] = {"bce": bce, "dice_bce": dice_bce}
"""The values that `train.loss` may have."""
