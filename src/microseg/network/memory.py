"""Running out of memory: errors that name the parameters to change, and the peak memory of a run."""

import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
import torch

from microseg.common.errors import InputError

_SMALLER_NETWORK = "train.base_channels lower, which is another network (encoder plain only)"
_TILES = "predict.tile_size smaller, or a number such as 512 where it is null"

TRAINING_REMEDIES = (
    "train.batch_size lower, with a higher train.accumulate_grad_batches for the same gradient",
    "train.crop_size smaller, or a number such as 256 where it is null",
    "train.precision bf16",
    "train.activation_checkpointing true, for the same gradient in more time (encoder plain only)",
    _SMALLER_NETWORK,
)
VALIDATION_REMEDIES = (_TILES, "train.precision bf16", _SMALLER_NETWORK)
PREDICTION_REMEDIES = (_TILES, "predict.tta none")
"""What to change to save memory: first what changes results least, nothing in a prediction that trains anew."""

# What torch says where it does not raise OutOfMemoryError or MemoryError: the allocator of the CPU, and oneDNN.
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "could not create a memory object")


@contextmanager
def out_of_memory_advice(task: str, remedies: Sequence[str]) -> Iterator[None]:
    """Turn an out-of-memory error of `task`, such as "training", into an InputError that lists the remedies."""
    problem = f"there is not enough memory for the {task}"
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _advice(problem, remedies) from error
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise _advice(f"{problem} and its data loader workers", remedies) from error
        raise
    except RuntimeError as error:
        if any(words in str(error) for words in OUT_OF_MEMORY_WORDS):
            raise _advice(problem, remedies) from error
        if "DataLoader worker" in str(error):
            killed = "a data loader worker was killed, most likely for lack of memory (/dev/shm counts too)"
            raise _advice(killed, ["train.num_workers 0, which does without them", *remedies]) from error
        raise


def _advice(problem: str, remedies: Sequence[str]) -> InputError:
    return InputError("\n  ".join([f"{problem}; change one of these parameters:", *remedies]))


def peak_memory_gb(device: torch.device) -> float:
    """Return the peak memory of this process so far, in gigabytes of 10^9 bytes.

    On a GPU that is what torch has allocated there, on a CPU the maximum resident set size (getrusage(2)).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e9
    import resource  # which Windows does not have

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
