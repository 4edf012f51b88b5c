"""How several experiments at a time share the GPUs and the cores of this machine."""

import os
import re
import subprocess
from collections.abc import Sequence
from itertools import pairwise, takewhile

VISIBLE = "CUDA_VISIBLE_DEVICES"
WAITING, SPINNING = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
"""What decides whether a thread that waits for others keeps its core; the second is for GNU's OpenMP alone."""


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes.

    Found without PyTorch, which would take seconds and hold a GPU: the variable itself where it is set, otherwise
    `nvidia-smi --list-gpus`; where a GPU is divided (MIG), its parts. There are none where there is no driver.
    """
    named = os.environ.get(VISIBLE)
    if named is not None:
        # CUDA goes no further than the first name that is none.
        return list(takewhile(lambda one: one not in ("", "-1"), (one.strip() for one in named.split(","))))
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    names: list[str] = re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", listed)
    divided = {name for name, part in pairwise(names) if part.startswith("MIG")}
    return [name for name in names if name.startswith("MIG") or name not in divided]


def share_gpus(gpus: Sequence[str], jobs: int, each: int = 1) -> list[str | None]:
    """Return for each of `jobs` experiments at a time what CUDA_VISIBLE_DEVICES is to be; None leaves it as it is.

    Args:
        gpus: what there is, as `visible_gpus` says.
        jobs: how many experiments run at a time. Where there are more of them than GPUs, they take turns.
        each: how many GPUs an experiment trains on, `train.devices`.
    """
    groups = [",".join(gpus[start : start + each]) for start in range(0, len(gpus) - each + 1, each)]
    if jobs == 1 or len(groups) < 2:
        return [None] * jobs
    return [groups[job % len(groups)] for job in range(jobs)]


def share_cores(jobs: int) -> dict[str, str]:
    """Return the environment variables by which `jobs` experiments at a time leave the cores to each other.

    Each has as many threads as alone, so that its result is the same to the last bit. But a thread of PyTorch that
    waits for the others of its experiment would keep its core, where those of another experiment have work to do.
    On two Zen 3 cores a step of the default's training takes 0.34 s alone, 1.2 s beside another training, and
    0.58 s beside another one where threads give way. What is set by the user stays.
    """
    if jobs == 1 or WAITING in os.environ or SPINNING in os.environ:
        return {}
    return {WAITING: "PASSIVE"}
