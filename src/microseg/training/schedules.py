"""Learning rates as a function of the step: nothing to store, so nothing to restore."""

import math
from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["constant", "cosine", "one_cycle"]

# Smith and Topin (arXiv:1708.07120) rise for less than half of the training, here for this share of it, from this
# share of the largest learning rate.
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of a training.

    constant stays at `lr`; cosine falls from it to zero along half a wave (Loshchilov and Hutter,
    arXiv:1608.03983); one_cycle rises to it and falls to zero (Smith and Topin, arXiv:1708.07120). The first two
    can rise in a straight line for `warmup_epochs` first.
    """

    name: ScheduleName
    lr: float
    epochs: int
    steps_per_epoch: int
    warmup_epochs: int = 0

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, the first of the training being 0."""
        warmup = self.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.lr * (step + 1) / warmup
        if self.name == "constant":
            return self.lr
        done = (step - warmup) / (self.epochs * self.steps_per_epoch - warmup)
        if self.name == "cosine":
            return self.lr * _half_wave(done)
        if done < ONE_CYCLE_RISE:
            return self.lr * (1 - (1 - ONE_CYCLE_START) * _half_wave(done / ONE_CYCLE_RISE))
        return self.lr * _half_wave((done - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))


def depends_on_epochs(name: ScheduleName) -> bool:
    """Return whether a longer training differs from a shorter one in the epochs that they share."""
    return name != "constant"


def _half_wave(done: float) -> float:
    """Fall from 1 to 0 while `done` goes from 0 to 1."""
    return (1 + math.cos(math.pi * done)) / 2
