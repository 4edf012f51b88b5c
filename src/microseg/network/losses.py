"""Losses on logits: no network of this package ends in a sigmoid, and no loss expects one.

Each loss maps logits, (batch, 1, height, width) of any floating type, and masks, of the same shape and 0 or 1, to
one float32 value a micrograph, (batch,). Losses of single micrographs, and not of batches, are what makes the
gradient of a step independent of how its micrographs are spread over batches and devices.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]

BCE_SHARE, DICE_SHARE = 0.7, 0.3


def bce(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the pixels of each micrograph."""
    pixels = functional.binary_cross_entropy_with_logits(logits.float(), masks.float(), reduction="none")
    return pixels.mean(dim=(1, 2, 3))


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """One minus the soft Dice coefficient of each micrograph (Milletari et al., 3DV 2016, arXiv:1606.04797).

    One pixel is added to overlap and areas alike: with no foreground in the mask the loss is 0 for an empty
    prediction, and its gradient stays finite.
    """
    foreground = torch.sigmoid(logits.float())
    truth = masks.float()
    overlap = (foreground * truth).sum(dim=(1, 2, 3))
    areas = foreground.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    return 1 - (2 * overlap + 1) / (areas + 1)


def dice_bce(logits: Tensor, masks: Tensor) -> Tensor:
    """0.7 of the binary cross-entropy and 0.3 of the Dice loss."""
    return BCE_SHARE * bce(logits, masks) + DICE_SHARE * dice(logits, masks)


LOSSES: dict[str, Loss] = {"bce": bce, "dice_bce": dice_bce}
"""The values that `train.loss` may have."""
