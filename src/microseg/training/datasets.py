"""Micrographs and masks as the network sees them, read from disk one at a time, when they are needed."""

import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from microseg.common.errors import InputError
from microseg.common.params import AugmentParams
from microseg.common.randomness import generator
from microseg.network.inputs import GreyValues, MaskedMicrographs, network_input, normalize, to_grey
from microseg.network.resolution import resized
from microseg.training.augmentation import Mask, augment, random_factor
from microseg.training.pixels import PixelStore, StoredMask, foreground_ends
from microseg.training.sampling import Draw


class Sample(NamedTuple):
    """One crop or micrograph with its mask."""

    micrograph: Tensor
    """(1, height, width), float32, normalised."""
    mask: Tensor
    """(1, height, width), bool; of a crop that was resampled, float32 shares of foreground."""
    weight: float
    """Its share in the gradient of its step."""
    name: str
    """The micrograph it is from."""


class Batch(NamedTuple):
    """Samples of one size, stacked along a new first axis."""

    micrographs: Tensor
    masks: Tensor
    weights: Tensor
    names: tuple[str, ...]


class WholeMicrographs(Dataset[Sample]):
    """Every micrograph as the network sees it, with its mask as it is, by its position in the list."""

    def __init__(self, files: MaskedMicrographs, grey_values: GreyValues, scale: float = 1.0) -> None:
        self.files = files
        self.grey_values: GreyValues = grey_values
        self.scale = scale

    def __len__(self) -> int:
        return len(self.files.names)

    def __getitem__(self, index: int) -> Sample:
        micrograph, mask = self.files.read(index)
        return Sample(
            micrograph=network_input(micrograph, self.grey_values, scale=self.scale),
            mask=torch.from_numpy(mask[np.newaxis].copy()),
            weight=1.0,
            name=self.files.names[index],
        )


class TrainingCrops(Dataset[Sample]):
    """Random square crops (or whole micrographs), augmented; a draw always gives the same crop."""

    def __init__(
        self,
        pixels: PixelStore,
        seed: int,
        crop: int | None,
        foreground_fraction: float,
        grey_values: GreyValues,
        augmentation: AugmentParams,
    ) -> None:
        self.pixels = pixels
        self.seed = seed
        self.crop = crop
        self.foreground_fraction = foreground_fraction
        self.grey_values: GreyValues = grey_values
        self.augmentation = augmentation

    def __getitem__(self, draw: Draw) -> Sample:
        random = generator(self.seed, "crop", draw.epoch, draw.micrograph, draw.repeat)
        micrograph, mask, statistics, ends = self.pixels[draw.micrograph]
        if self.crop is not None:
            zoom = self.augmentation.zoom
            side = max(1, round(self.crop * random_factor(zoom, random))) if zoom else self.crop
            micrograph, mask = random_crop(micrograph, mask, side, self.foreground_fraction, random, ends)
            if zoom:
                size = self.crop, self.crop
                micrograph, mask = resized(micrograph, size), resized(as_shares(mask), size)
        grey, target = augment(to_grey(micrograph), as_target(mask), self.augmentation, random)
        if self.grey_values == "per_image":
            grey = normalize(grey, statistics)
        return Sample(
            micrograph=torch.from_numpy(np.ascontiguousarray(grey)[np.newaxis]),
            mask=torch.from_numpy(target[np.newaxis].copy()),
            weight=draw.weight,
            name=self.pixels.files.names[draw.micrograph],
        )


def as_shares(mask: StoredMask) -> NDArray[np.uint8]:
    """Return the share of foreground in each pixel, 0 to 255."""
    return np.asarray(mask * np.uint8(255) if mask.dtype == np.bool_ else mask, np.uint8)


def as_target(mask: StoredMask) -> Mask:
    """Return what the network is to say of each pixel: whether it is foreground, or the share that is.

    Shares are not rounded to a mask, which would move outlines by up to half a pixel of the network and lose thin
    islands (as SoftSeg, Gros et al., Medical Image Analysis 71:102038, 2021).
    """
    return np.asarray(mask, np.bool_) if mask.dtype == np.bool_ else mask.astype(np.float32) / np.float32(255)


def random_crop(
    micrograph: NDArray[np.uint8],
    mask: StoredMask,
    side: int,
    foreground_fraction: float,
    random: np.random.Generator,
    ends: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.uint8], StoredMask]:
    """Cut the same random square out of both, continuing them as in a mirror where they are smaller than it.

    With a probability of `foreground_fraction` the square is centred, as far as the border allows, on a foreground
    pixel chosen at random (as in nnU-Net, Isensee et al., Nature Methods 18:203, 2021). `ends` are the
    `foreground_ends` of the mask; with them no other pixels are looked at than those of the square and one row.
    """
    missing = [(0, max(0, side - size)) for size in mask.shape]
    if any(after for _, after in missing):
        micrograph = np.pad(micrograph, missing, mode="symmetric")
        mask = np.pad(mask, missing, mode="symmetric")
        ends = None
    if ends is None:
        ends = foreground_ends(mask)
    room = np.array(mask.shape) - side
    corner = random.integers(room + 1)
    if random.random() < foreground_fraction and ends[-1]:
        centre = foreground_pixel(mask, ends, int(random.integers(ends[-1])))
        corner = np.clip(np.array(centre) - side // 2, 0, room)
    top, left = corner.tolist()
    window = (slice(top, top + side), slice(left, left + side))
    return micrograph[window], mask[window]


def foreground_pixel(mask: StoredMask, ends: NDArray[np.int64], number: int) -> tuple[int, int]:
    """Return row and column of a foreground pixel, counted from 0 in the order of reading."""
    row = int(np.searchsorted(ends, number, side="right"))
    before = int(ends[row - 1]) if row else 0
    return row, int(np.flatnonzero(mask[row])[number - before])


def collate(samples: list[Sample]) -> Batch:
    """Stack samples into a batch; InputError where they differ in size."""
    sizes = {sample.name: tuple(sample.mask.shape[-2:]) for sample in samples}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"micrographs of different sizes cannot share a batch (height, width: {sizes}); set train.crop to a "
            "number, or train.batch_size to 1 and train.accumulate_batches to the present batch size"
        )
    return Batch(
        micrographs=torch.stack([sample.micrograph for sample in samples]),
        masks=torch.stack([sample.mask for sample in samples]),
        weights=torch.tensor([sample.weight for sample in samples], dtype=torch.float32),
        names=tuple(sample.name for sample in samples),
    )


def loader(
    dataset: Dataset[Sample], batches: Iterable[list[Draw]] | Iterable[list[int]], workers: int, pin_memory: bool
) -> DataLoader[Sample]:
    """Return a loader of `batches`, read ahead by `workers` processes (0: in this one)."""
    # Forks notice within seconds when this process is killed; children of a fork server, which newer versions of
    # Python would start, do not.
    start_method = "fork" if workers and sys.platform == "linux" else None
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        multiprocessing_context=start_method,
    )


def next_batch(batches: Iterator[Batch]) -> Batch:
    """Return the next batch; what a worker process raised as InputError is raised here in its own words."""
    try:
        return next(batches)
    except InputError as error:
        sentence = str(error).strip().rpartition("InputError: ")[2]
        raise InputError(sentence) from None
