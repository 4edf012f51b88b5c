"""The losses of an epoch, left on the device until some steps have passed."""

import math

import torch
from torch import Tensor

from microseg.common.errors import InputError

STEPS_BETWEEN_LOOKS = 20
"""Looking at a number lets a GPU stand still until the next step is queued; once in so many steps is no loss."""

REMEDIES = (
    "likely remedies: a lower train.lr, train.gradient_clip of 1.0 or less, some train.warmup_epochs, or "
    "train.precision bf16 or float32 instead of fp16"
)


class RunningLoss:
    """Adds up the losses of one epoch, and stops the training soon after one of them is not finite."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._total = 0.0
        self._unseen: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, step: int, names: tuple[str, ...], losses: Tensor) -> None:
        """Take the losses, (batch,), of the micrographs `names` in a step, the first of the epoch being 1."""
        if self._unseen and step - self._unseen[0][0] >= STEPS_BETWEEN_LOOKS:
            self._look()
        self._unseen.append((step, names, losses))

    def total(self) -> float:
        """Return the sum of all losses so far.

        Raises:
            InputError: one of them was not finite; the message names the step and its micrographs.
        """
        self._look()
        return self._total

    def _look(self) -> None:
        if not self._unseen:
            return
        values = iter(torch.cat([losses for _, _, losses in self._unseen]).tolist())
        for step, names, losses in self._unseen:
            own = [next(values) for _ in range(len(losses))]
            if not all(map(math.isfinite, own)):
                raise InputError(
                    f"epoch {self.epoch}, step {step}: the loss of {', '.join(names)} is not finite; {REMEDIES}"
                )
            self._total += math.fsum(own)
        self._unseen.clear()
