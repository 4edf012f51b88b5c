"""How much memory a training or a prediction needs, roughly, and what to change where it is too much."""

import errno
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from microseg.common.errors import InputError
from microseg.network.footprint import Footprint
from microseg.network.unet import LEVELS

log = logging.getLogger(__name__)

GIGABYTE = 1e9
# What the loss of a validation holds at once for each pixel of the mask: logits, mask, and what is made of both.
LOSS_BYTES = 18

# Tiles to suggest: smaller ones see too little around a pixel, larger ones hardly save time.
SMALLEST_TILE, LARGEST_TILE = 64, 1024

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

# What torch says where it does not raise OutOfMemoryError or MemoryError: the allocator of the CPU, and oneDNN.
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "could not create a memory object")


@dataclass(frozen=True, kw_only=True)
class Workload(ABC):
    """What the memory of a training, a validation or a prediction depends on."""

    base_channels: int
    height: int
    width: int
    bytes_per_number: int
    """4 for float32, 2 for bf16 and fp16."""
    footprint: Footprint | None = None
    """What the network takes where it is another one than the U-Net of `base_channels`."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What is done, as an error calls it."""

    @property
    @abstractmethod
    def needed_bytes(self) -> float:
        """A lower bound, good for comparisons: the program and what its libraries use in passing come on top."""

    @abstractmethod
    def changes(self) -> Iterator[tuple[str, "Workload"]]:
        """Yield each parameter that can be changed to save memory, and the workload that this leaves."""

    def remedies(self) -> list[str]:
        """Return a line for each parameter that can be changed to save memory, with what that saves."""
        saved = [(text, self.needed_bytes - changed.needed_bytes) for text, changed in self.changes()]
        return [f"{text}: saves about {size / GIGABYTE:.2g} GB" for text, size in saved if size > 0]

    @property
    def network(self) -> str:
        """The network, as an error calls it."""
        return f"{self.base_channels} base channels" if self.footprint is None else self.footprint.name

    @property
    def weights(self) -> float:
        """The number of weights; of the U-Net those of 3 x 3 convolutions, and of 2 x 2 ones up; no biases."""
        if self.footprint is not None:
            return self.footprint.weights
        channels = [self.base_channels << level for level in range(LEVELS)]
        down = sum(9 * (width * width // 2 + width * width) for width in channels)
        up = sum(4 * 2 * width * width + 9 * 3 * width * width for width in channels[:-1])
        return down + up


@dataclass(frozen=True, kw_only=True)
class TrainingWorkload(Workload):
    """What the memory of the steps of a training depends on."""

    batch_size: int
    whole: bool
    """Whether height and width are those of the micrographs and not of crops."""
    activation_checkpointing: bool
    normalised: bool = False
    """Whether batch normalisation, which stores its input, follows each 3 x 3 convolution."""

    @property
    def description(self) -> str:
        """Network and batch."""
        size = f"{self.batch_size} x {self.height} x {self.width} pixels"
        return f"training {self.network} with {size} at a time"

    @property
    def needed_bytes(self) -> float:
        """Bytes of weights, gradients, Adam's two averages, and the activations stored for the backward pass."""
        return 16 * self.weights + self.batch_size * self._activation_bytes

    @property
    def _activation_bytes(self) -> float:
        """Bytes stored for one crop or micrograph."""
        if self.footprint is not None:
            return self.footprint.stored * self.height * self.width * self.bytes_per_number
        total = 0.0
        for level in range(LEVELS):
            values = (self.base_channels << level) * self.height * self.width / (1 << 2 * level)
            # On the way down a level stores both convolutions' results, and for the pooled quarter of them also
            # where the largest value was (8 bytes); on the way up the joined input and again both results.
            own = 4 if self.normalised else 2
            down, up = (1, 3) if self.activation_checkpointing else (own, own + 2)
            total += values * down * self.bytes_per_number
            if level < LEVELS - 1:
                total += values * up * self.bytes_per_number + values / 4 * (self.bytes_per_number + 8)
        return total

    def changes(self) -> Iterator[tuple[str, Workload]]:
        """Smaller batches, crops, numbers and networks, and activations computed twice."""
        if self.batch_size > 1:
            half = self.batch_size // 2
            text = (
                f"train.batch_size {half}, with train.accumulate_grad_batches twice as large for the same gradient"
            )
            yield text, replace(self, batch_size=half)
        if self.whole or min(self.height, self.width) > 64:
            side = min(256, self.height, self.width) if self.whole else self.height // 2
            yield f"train.crop_size {side}", replace(self, height=side, width=side)
        if self.bytes_per_number > 2:
            yield "train.precision bf16", replace(self, bytes_per_number=2)
        if not self.activation_checkpointing and self.footprint is None:
            text = "train.activation_checkpointing true, for the same gradient in more time"
            yield text, replace(self, activation_checkpointing=True)
        if self.base_channels > 1 and self.footprint is None:
            half = self.base_channels // 2
            yield f"train.base_channels {half}, another network", replace(self, base_channels=half)


@dataclass(frozen=True, kw_only=True)
class InferenceWorkload(Workload):
    """What the memory of computing the logits of one micrograph depends on, in a training or after it."""

    tile_size: int | None
    """Side of the tiles; None for whole micrographs."""
    validating: bool
    """Whether this is a part of a training, whose state is then in memory too, and the loss is computed."""
    tta: bool = False
    scale: float = 1.0
    """How many times as wide as the micrograph's the pixels are that the network sees."""

    @property
    def description(self) -> str:
        """Network, micrograph and tiles."""
        task = "validating" if self.validating else "predicting with"
        pieces = "in one piece" if self.tile_size is None else f"in tiles of {self.tile_size}"
        size = f"{self.height} x {self.width} pixels"
        return f"{task} {self.network} on a micrograph of {size} {pieces}"

    @property
    def needed_bytes(self) -> float:
        """Bytes of weights, with Adam's two averages in a training, of activations, and of maps of all pixels."""
        pixels = self.height * self.width
        seen = pixels / self.scale**2
        piece = seen if self.tile_size is None else self.tile_size**2
        # Where the last level joins what it gets: two inputs and their join, above the level below.
        held = 4.5 * self.base_channels if self.footprint is None else self.footprint.held
        activations = held * self.bytes_per_number * piece
        # Maps of float32: what the network sees; for tiles the sum of their logits and that of their weights, and
        # at the end their quotient; for tta the micrograph, the turned one, the logits of both views, and
        # the sum so far. The annotated mask has a byte a pixel.
        maps = 4 + 8 * (self.tile_size is not None) + 20 * self.tta
        quotient = 4 * seen * (self.tile_size is not None)
        network = maps * seen + self.validating * pixels + max(activations, quotient)
        # Of another size than what was seen, logits are there twice while they are enlarged.
        enlarging = (8 * seen + 4 * pixels) * (self.scale != 1)
        loss = (4 * seen + LOSS_BYTES * pixels) * self.validating
        weights = (12 if self.validating else 4) * self.weights
        return weights + max(network, enlarging, loss)

    def changes(self) -> Iterator[tuple[str, Workload]]:
        """Smaller tiles, no tta, and in a training smaller numbers and networks."""
        smaller = smaller_tile(self.tile_size or int(math.sqrt(self.height * self.width) / self.scale))
        if smaller is not None:
            yield f"predict.tile_size {smaller}", replace(self, tile_size=smaller)
        if self.tta:
            yield "predict.tta none", replace(self, tta=False)
        if self.validating and self.bytes_per_number > 2:
            yield "train.precision bf16", replace(self, bytes_per_number=2)
        if self.validating and self.base_channels > 1 and self.footprint is None:
            half = self.base_channels // 2
            yield f"train.base_channels {half}, another network", replace(self, base_channels=half)


def smaller_tile(side: int) -> int | None:
    """Return the tile to try next, a power of two at most half of `side`; None below 64, too little to see by."""
    half = 1 << max(0, side.bit_length() - 2)
    return min(half, LARGEST_TILE) if half >= SMALLEST_TILE else None


def bytes_per_number(precision: str) -> int:
    """Return the bytes of an activation, for a precision as Fabric calls it."""
    return 4 if precision == "32-true" else 2


@contextmanager
def explained(workload: Workload) -> Iterator[None]:
    """Turn what is raised for lack of memory into an InputError that names the parameters to change."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise InputError(_advice("there is not enough memory", workload)) from error
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise InputError(
                _advice("there is not enough memory for a process that reads ahead", workload)
            ) from error
        raise
    except RuntimeError as error:
        if any(words in str(error) for words in OUT_OF_MEMORY_WORDS):
            raise InputError(_advice("there is not enough memory", workload)) from error
        if "DataLoader worker" in str(error):
            problem = "a process that reads ahead was ended, most likely for lack of memory (/dev/shm counts too)"
            raise InputError(_advice(f"{problem}; train.num_workers 0 does without them", workload)) from error
        raise


def warn_if_short(workload: Workload, device: torch.device) -> None:
    """Log the remedies where less memory is free than is needed: some systems kill without another word."""
    free = free_bytes(device)
    if workload.needed_bytes > free:
        log.warning(_advice(f"only {free / GIGABYTE:.2g} GB of memory are free", workload))


def free_bytes(device: torch.device, cgroup_limit: Path = CGROUP_LIMIT) -> float:
    """Return how much memory of a device is free, in bytes; on a CPU at most what its container may use."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    limit = cgroup_limit.read_text(encoding="ascii").strip() if cgroup_limit.is_file() else "max"
    return free if limit == "max" else min(free, int(limit))


def _advice(problem: str, workload: Workload) -> str:
    needed = f"{workload.description} needs at least {workload.needed_bytes / GIGABYTE:.2g} GB"
    remedies = workload.remedies()
    what = (
        "change one of these parameters:" if remedies else "use smaller micrographs or a machine with more memory"
    )
    return "\n  ".join([f"{problem}: {needed}; {what}", *remedies])
