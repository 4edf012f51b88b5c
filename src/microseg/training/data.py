"""The data of a training: which crops make up an epoch, and how they are read, cropped and batched.

The crops of an epoch, their order, and their distribution over devices are a pure function of the seed and the
epoch. So the data of an epoch is the same for any number of data loader workers, and in a resumed training.
Micrographs are read from disk one at a time, when they are needed.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from microseg.common.errors import InputError
from microseg.common.params import TrainParams
from microseg.common.randomness import generator
from microseg.network.inputs import (
    InputNormalization,
    MaskedMicrographs,
    network_input,
    normalize,
    resize,
    to_grey,
)
from microseg.training.augmentation import Mask, augment, random_factor
from microseg.training.pixel_cache import PixelCache, StoredMask, foreground_ends

Item = TypeVar("Item")


class Draw(NamedTuple):
    """One crop to draw: `epoch`, `micrograph` and `repeat` determine its random choices."""

    epoch: int
    """Its epoch, the first being 1."""
    micrograph: int
    """Index in the list of training micrographs."""
    repeat: int
    """Number of the crop among those of the micrograph in the epoch, the first being 0."""
    weight: float
    """Its weight in the gradient of its step: the weights of a step sum to 1 over all batches and devices."""


Step = list[list[Draw]]
"""The batches of one device whose gradients are accumulated for one update of the weights."""


@dataclass(frozen=True)
class Sampler:
    """Distributes the crops of an epoch over steps, batches and devices.

    A step has `batch_size * accumulate * world_size` crops, the last step of an epoch the remaining ones. Its last
    batch is filled up with crops of weight 0: a single crop may have no variance to normalize by, all devices have
    to exchange gradients, and a network is compiled for one shape.
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

    @property
    def _batch_of_all_devices(self) -> int:
        # An epoch of less than a batch is filled up only to two crops, and to one for each device.
        return min(self.batch_size * self.world_size, max(self.crops, 2, self.world_size))

    def epoch(self, epoch: int) -> list[Step]:
        """Return the steps of an epoch for the device `rank`."""
        order = generator(self.seed, "order", epoch).permutation(self.crops).tolist()
        return [self._step(epoch, numbers) for numbers in _chunks(order, self._step_size)]

    def _step(self, epoch: int, numbers: Sequence[int]) -> Step:
        draws = [Draw(epoch, *divmod(number, self.repeats), 1 / len(numbers)) for number in numbers]
        missing = -len(draws) % self._batch_of_all_devices
        # Further crops of the same micrographs: their repeats are not among those of the epoch.
        draws += [
            draw._replace(repeat=draw.repeat + self.repeats * (1 + number // len(numbers)), weight=0.0)
            for number, draw in enumerate(islice(cycle(draws), missing))
        ]
        return [batch[self.rank :: self.world_size] for batch in _chunks(draws, self._batch_of_all_devices)]


def _chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


class Sample(NamedTuple):
    """One crop or micrograph with its mask."""

    micrograph: Tensor
    """(1, height, width), float32, normalized."""
    mask: Tensor
    """(1, height, width), bool; for a resampled crop float32, the fraction of foreground in each pixel."""
    weight: float
    """Its weight in the gradient of its step."""
    name: str
    """Its micrograph."""


class Batch(NamedTuple):
    """Samples of one size, stacked along a new first axis."""

    micrographs: Tensor
    masks: Tensor
    weights: Tensor
    names: tuple[str, ...]


class WholeMicrographs(Dataset[Sample]):
    """Whole micrographs as input of the network, with masks at the micrograph's own size, by their index."""

    def __init__(
        self, files: MaskedMicrographs, input_normalization: InputNormalization, downsample: float = 1.0
    ) -> None:
        self.files = files
        self.input_normalization: InputNormalization = input_normalization
        self.downsample = downsample

    def __len__(self) -> int:
        return len(self.files.names)

    def __getitem__(self, index: int) -> Sample:
        micrograph, mask = self.files.read(index)
        return Sample(
            micrograph=network_input(micrograph, self.input_normalization, factor=self.downsample),
            mask=torch.from_numpy(mask[np.newaxis].copy()),
            weight=1.0,
            name=self.files.names[index],
        )


class TrainingCrops(Dataset[Sample]):
    """Random square crops, or whole micrographs, augmented; equal draws give equal crops."""

    def __init__(self, pixels: PixelCache, seed: int, params: TrainParams) -> None:
        self.pixels = pixels
        self.seed = seed
        self.params = params

    def __getitem__(self, draw: Draw) -> Sample:
        random = generator(self.seed, "crop", draw.epoch, draw.micrograph, draw.repeat)
        micrograph, mask, statistics, ends = self.pixels[draw.micrograph]
        params, size = self.params, self.params.crop_size
        if size is not None:
            jitter = params.augment.scale_jitter
            side = max(1, round(size * random_factor(jitter, random))) if jitter else size
            micrograph, mask = random_crop(micrograph, mask, side, params.foreground_oversampling, random, ends)
            if jitter:
                micrograph, mask = resize(micrograph, (size, size)), resize(to_soft_mask(mask), (size, size))
        grey, target = augment(to_grey(micrograph), to_target(mask), params.augment, random)
        if params.input_normalization == "zscore":
            grey = normalize(grey, statistics)
        return Sample(
            micrograph=torch.from_numpy(np.ascontiguousarray(grey)[np.newaxis]),
            mask=torch.from_numpy(target[np.newaxis].copy()),
            weight=draw.weight,
            name=self.pixels.files.names[draw.micrograph],
        )


class TrainingData(Dataset[Sample]):
    """Crops to train on by their draw, micrographs to validate on by their index: one loader reads both."""

    def __init__(self, crops: TrainingCrops, validation: WholeMicrographs) -> None:
        self.crops = crops
        self.validation = validation

    def __getitem__(self, key: Draw | int) -> Sample:
        return self.crops[key] if isinstance(key, Draw) else self.validation[key]


def to_soft_mask(mask: StoredMask) -> NDArray[np.uint8]:
    """Return a mask as the fraction of foreground in each pixel, 0 to 255."""
    return np.asarray(mask * np.uint8(255) if mask.dtype == np.bool_ else mask, np.uint8)


def to_target(mask: StoredMask) -> Mask:
    """Return the training target: whether each pixel is foreground, or the fraction of it that is, 0 to 1.

    A rounded mask would lose thin islands (as in SoftSeg, Gros et al., Medical Image Analysis 71:102038, 2021).
    """
    return np.asarray(mask, np.bool_) if mask.dtype == np.bool_ else mask.astype(np.float32) / np.float32(255)


def random_crop(
    micrograph: NDArray[np.uint8],
    mask: StoredMask,
    side: int,
    foreground_oversampling: float,
    random: np.random.Generator,
    ends: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.uint8], StoredMask]:
    """Return the same random square of both, which are padded by reflection where they are smaller than it.

    With a probability of `foreground_oversampling` the square is centered, as far as the border allows, on a
    random foreground pixel (as in nnU-Net, Isensee et al., Nature Methods 18:203, 2021). `ends` are the
    `foreground_ends` of the mask; with them only the pixels of the square and of one row are read.
    """
    padding = [(0, max(0, side - size)) for size in mask.shape]
    if any(after for _, after in padding):
        micrograph = np.pad(micrograph, padding, mode="symmetric")
        mask = np.pad(mask, padding, mode="symmetric")
        ends = None
    if ends is None:
        ends = foreground_ends(mask)
    largest_corner = np.array(mask.shape) - side
    corner = random.integers(largest_corner + 1)
    if random.random() < foreground_oversampling and ends[-1]:
        center = foreground_pixel(mask, ends, int(random.integers(ends[-1])))
        corner = np.clip(np.array(center) - side // 2, 0, largest_corner)
    top, left = corner.tolist()
    window = (slice(top, top + side), slice(left, left + side))
    return micrograph[window], mask[window]


def foreground_pixel(mask: StoredMask, ends: NDArray[np.int64], number: int) -> tuple[int, int]:
    """Return row and column of foreground pixel `number`, the first in row-major order being 0."""
    row = int(np.searchsorted(ends, number, side="right"))
    before = int(ends[row - 1]) if row else 0
    return row, int(np.flatnonzero(mask[row])[number - before])


def collate(samples: list[Sample]) -> Batch:
    """Stack samples into a batch; InputError if they differ in size."""
    sizes = {sample.name: tuple(sample.mask.shape[-2:]) for sample in samples}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"micrographs of different sizes cannot share a batch (height, width: {sizes}); set train.crop_size "
            "to a number, or train.batch_size to 1 and train.accumulate_grad_batches to the current batch size"
        )
    return Batch(
        micrographs=torch.stack([sample.micrograph for sample in samples]),
        masks=torch.stack([sample.mask for sample in samples]),
        weights=torch.tensor([sample.weight for sample in samples], dtype=torch.float32),
        names=tuple(sample.name for sample in samples),
    )


def data_loader(
    dataset: Dataset[Sample], batches: Iterable[list[Draw] | list[int]], workers: int, pin_memory: bool
) -> DataLoader[Sample]:
    """Return a loader of `batches` with `workers` worker processes; 0 loads in this process."""
    # Forked workers end within seconds when this process is killed. Those of a fork server, the default of newer
    # versions of Python, do not.
    start_method = "fork" if workers and sys.platform == "linux" else None
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        multiprocessing_context=start_method,
    )


def next_batch(batches: Iterator[Batch]) -> Batch:
    """Return the next batch; an InputError in a worker process is raised here without the worker's traceback."""
    try:
        return next(batches)
    except InputError as error:
        message = str(error).strip().rpartition("InputError: ")[2]
        raise InputError(message) from None
