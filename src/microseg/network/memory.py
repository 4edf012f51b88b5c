"""How much memory a training needs, roughly, and what to change where it is too much."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from microseg.common.errors import InputError
from microseg.network.unet import LEVELS

log = logging.getLogger(__name__)

GIGABYTE = 1e9
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

# What torch says where it does not raise OutOfMemoryError or MemoryError: the allocator of the CPU, and oneDNN.
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "could not create a memory object")


@dataclass(frozen=True)
class Workload:
    """What the memory of a training depends on."""

    base_channels: int
    batch_size: int
    height: int
    width: int
    whole: bool
    """Whether height and width are those of the micrographs and not of crops."""
    bytes_per_number: int
    """4 for float32, 2 for bf16 and fp16."""
    activation_checkpointing: bool
    normalised: bool = False
    """Whether batch normalisation, which stores its input, follows each 3 x 3 convolution."""

    @property
    def needed_bytes(self) -> float:
        """Bytes of weights, gradients, Adam's two averages, and the activations stored for the backward pass.

        The program itself and what its libraries use in passing come on top: a lower bound, good for comparisons.
        """
        return 16 * self._weights + self.batch_size * self._activation_bytes

    @property
    def _weights(self) -> float:
        # 3 x 3 convolutions of every level, and 2 x 2 ones on the way up; biases do not count here.
        channels = [self.base_channels << level for level in range(LEVELS)]
        down = sum(9 * (width * width // 2 + width * width) for width in channels)
        up = sum(4 * 2 * width * width + 9 * 3 * width * width for width in channels[:-1])
        return down + up

    @property
    def _activation_bytes(self) -> float:
        """Bytes stored for one crop or micrograph."""
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

    def remedies(self) -> list[str]:
        """Return a line for each parameter that can be changed to save memory, with what that saves."""
        changes: list[tuple[str, Workload]] = []
        if self.batch_size > 1:
            half = self.batch_size // 2
            text = f"train.batch_size {half}, with train.accumulate_batches twice as large for the same gradient"
            changes.append((text, replace(self, batch_size=half)))
        if self.whole or min(self.height, self.width) > 64:
            side = min(256, self.height, self.width) if self.whole else self.height // 2
            changes.append((f"train.crop {side}", replace(self, height=side, width=side)))
        if self.bytes_per_number > 2:
            changes.append(("train.precision bf16", replace(self, bytes_per_number=2)))
        if not self.activation_checkpointing:
            text = "train.activation_checkpointing true, for the same gradient in more time"
            changes.append((text, replace(self, activation_checkpointing=True)))
        if self.base_channels > 1:
            half = self.base_channels // 2
            changes.append((f"train.base_channels {half}, another network", replace(self, base_channels=half)))
        return [
            f"{text}: saves about {(self.needed_bytes - changed.needed_bytes) / GIGABYTE:.2g} GB"
            for text, changed in changes
        ]


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
            raise InputError(_advice(f"{problem}; train.workers 0 does without them", workload)) from error
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
    size = f"{workload.batch_size} x {workload.height} x {workload.width} pixels"
    return "\n  ".join(
        [
            f"{problem}: training {workload.base_channels} base channels with {size} at a time needs at least "
            f"{workload.needed_bytes / GIGABYTE:.2g} GB; change one of these parameters:",
            *workload.remedies(),
        ]
    )
