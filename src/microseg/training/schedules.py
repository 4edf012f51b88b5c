"""Learning rates as a function of the step: nothing to store, so nothing to restore."""

import math
from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["constant", "rise_hold_fall", "cosine", "one_cycle"]

# Smith and Topin (arXiv:1708.07120) rise for less than half of the training, here for this share of it, from this
# share of the largest learning rate.
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of a training.

    constant stays at `lr`; rise_hold_fall stays there until it falls to zero in the last epochs, a share `fall` of
    them, as one minus a square root (Haegele et al., arXiv:2405.18392); cosine falls from it to zero along half a
    wave (Loshchilov and Hutter, arXiv:1608.03983); one_cycle rises to it and falls to zero (Smith and Topin,
    arXiv:1708.07120). All but one_cycle can rise in a straight line for `warmup_epochs` first.
    """

    name: ScheduleName
    lr: float
    epochs: int
    steps_per_epoch: int
    warmup_epochs: int = 0
    fall: float = 0.3

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, the first of the training being 0."""
        warmup = self.warmup_epochs * self.steps_per_epoch
        rise = (step + 1) / warmup if step < warmup else 1.0
        if self.name == "rise_hold_fall":
            return self.lr * rise * self._fall(step)
        if step < warmup or self.name == "constant":
            return self.lr * rise
        done = (step - warmup) / (self.epochs * self.steps_per_epoch - warmup)
        if self.name == "cosine":
            return self.lr * _half_wave(done)
        if done < ONE_CYCLE_RISE:
            return self.lr * (1 - (1 - ONE_CYCLE_START) * _half_wave(done / ONE_CYCLE_RISE))
        return self.lr * _half_wave((done - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))

    def _fall(self, step: int) -> float:
        """Fall from 1 to 0 between the last step that is shared with longer trainings and the end."""
        start = shared_epochs(self.name, self.epochs, self.fall) * self.steps_per_epoch
        return 1 - math.sqrt(max(0, step - start) / (self.epochs * self.steps_per_epoch - start))


def shared_epochs(name: ScheduleName, epochs: int, fall: float) -> int:
    """Return how many of its first epochs a training of `epochs` epochs shares with all longer ones."""
    if name == "constant":
        return epochs
    if name == "rise_hold_fall":
        return epochs - max(1, round(epochs * fall))
    return 0


def _half_wave(done: float) -> float:
    """Fall from 1 to 0 while `done` goes from 0 to 1."""
    return (1 + math.cos(math.pi * done)) / 2
