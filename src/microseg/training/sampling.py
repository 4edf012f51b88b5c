"""Which crops make up an epoch, in which order, and on which device: a pure function of the seed and the epoch.

Nothing here remembers what was drawn before. That is why the data of an epoch is the same for any number of worker
processes, and why a training that is taken up again in epoch 17 sees what an uninterrupted one sees in epoch 17.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from microseg.common.randomness import generator


class Draw(NamedTuple):
    """One crop to take: its random choices follow from `epoch`, `micrograph` and `repeat`."""

    epoch: int
    """The epoch it belongs to, the first being 1."""
    micrograph: int
    """Position in the list of training micrographs."""
    repeat: int
    """Which of the crops of that micrograph in that epoch, the first being 0."""
    weight: float
    """Its share in the gradient of its step: the weights of a step sum to 1 over all batches and devices."""


Batch = list[Draw]
Step = list[Batch]
"""The batches of one device whose gradients are added up before the weights change."""


@dataclass(frozen=True)
class Sampler:
    """Deals out the crops of an epoch to steps, devices and batches.

    A step takes `batch_size * accumulate * world_size` crops, the last of an epoch what is left. A device that is
    left without a crop gets one of weight 0, as all of them have to take part in the exchange of gradients.
    """

    seed: int
    micrographs: int
    repeats: int
    batch_size: int
    accumulate: int
    world_size: int = 1
    rank: int = 0

    @property
    def crops(self) -> int:
        """Number of crops in an epoch, on all devices together."""
        return self.micrographs * self.repeats

    @property
    def steps(self) -> int:
        """Number of steps in an epoch."""
        return -(-self.crops // self._step_size)

    @property
    def _step_size(self) -> int:
        return self.batch_size * self.accumulate * self.world_size

    def epoch(self, epoch: int) -> list[Step]:
        """Return the steps of an epoch for the device `rank`."""
        order = generator(self.seed, "order", epoch).permutation(self.crops).tolist()
        return [self._step(epoch, numbers) for numbers in _chunks(order, self._step_size)]

    def batches(self, first: int, last: int) -> "BatchStream":
        """Return all batches of this device from epoch `first` to epoch `last`, one after the other."""
        return BatchStream(self, first, last)

    def _step(self, epoch: int, numbers: Sequence[int]) -> Step:
        weight = 1 / len(numbers)
        batches = []
        for together in _chunks(numbers, self.batch_size * self.world_size):
            own = together[self.rank :: self.world_size]
            batches.append(
                [Draw(epoch, *divmod(number, self.repeats), weight) for number in own]
                or [Draw(epoch, *divmod(together[0], self.repeats), 0.0)]
            )
        return batches


@dataclass(frozen=True)
class BatchStream:
    """The batches of several epochs, made when they are asked for."""

    sampler: Sampler
    first: int
    last: int

    def __iter__(self) -> Iterator[Batch]:
        for epoch in range(self.first, self.last + 1):
            for step in self.sampler.epoch(epoch):
                yield from step


def _chunks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
