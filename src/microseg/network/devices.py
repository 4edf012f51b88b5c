"""Where a training or a prediction runs, on how many devices, and with which numbers."""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor
from torch.distributed import DistError

from microseg.common.errors import InputError

Accelerator = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bf16", "fp16"]

FABRIC_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "float32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}

CPU_INFO = Path("/proc/cpuinfo")
CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

# Parameters of mallopt(3), as numbered in malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def start(accelerator: Accelerator, precision: Precision, devices: int = 1, nodes: int = 1) -> Fabric:
    """Start all processes of a run and return what they work together with; called once, in each of them.

    Without torchrun or Slurm's srun the first process of each node starts the others, by running the same script
    again.

    Raises:
        InputError: there is no such device here, it cannot compute with that precision, or another number of
            processes was started.
    """
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and torch.cuda.device_count() < devices:
        raise InputError(
            f"train.devices: {devices} on cuda asked for, but this machine has {torch.cuda.device_count()} usable "
            "GPUs; lower train.devices or set train.accelerator to cpu"
        )
    make_deterministic(accelerator)
    if accelerator == "cpu":
        keep_freed_memory()
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision=FABRIC_PRECISION[resolve_precision(precision, accelerator)],
        plugins=launcher(devices, nodes),
    )
    fabric.launch()
    return fabric


def launcher(devices: int, nodes: int) -> ClusterEnvironment:
    """Return who starts the processes of this run: torchrun, srun, or the first of them.

    A job of Slurm is not enough: what runs in it without srun is one process, whatever the job was given.
    """
    environment: ClusterEnvironment
    try:
        if TorchElasticEnvironment.detect():
            environment = TorchElasticEnvironment()
        elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            environment = SLURMEnvironment(auto_requeue=False)
        else:
            return LightningEnvironment()
        started = environment.world_size()
        if started != devices * nodes:
            raise InputError(
                f"train.devices, train.nodes: {devices} x {nodes} processes asked for, but {started} were "
                "started; give the launcher the same numbers"
            )
        environment.validate_settings(devices, nodes)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"train.devices, train.nodes: {error}") from error
    return environment


def resolve_precision(precision: Precision, accelerator: Literal["cpu", "cuda"]) -> str:
    """Return float32, bf16 or fp16: `auto` is bf16 where the device computes with it, and does not imitate it."""
    if precision == "fp16" and accelerator == "cpu":
        raise InputError("train.precision: fp16 is for GPUs only; set it to auto, bf16 or float32")
    if precision != "auto":
        return precision
    if accelerator == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    flags = CPU_INFO.read_text(encoding="utf-8").split() if CPU_INFO.is_file() else []
    return "bf16" if CPU_BF16_FLAGS.intersection(flags) else "float32"


def make_deterministic(accelerator: Literal["cpu", "cuda"]) -> None:
    """Choose algorithms whose results do not differ from run to run, as far as the device has them."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by the documentation of cuBLAS
    # On GPUs the backward pass of max-pooling has no such algorithm: it warns there instead of stopping.
    torch.use_deterministic_algorithms(True, warn_only=accelerator == "cuda")
    # With deterministic algorithms torch also fills all new memory with NaN, to no use here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def keep_freed_memory() -> None:
    """Let the allocator of glibc reuse freed memory instead of giving it back to the system after every step.

    A step on whole micrographs frees and takes gigabytes; having the system clear them anew every time costs a
    quarter of the processor's time, keeping them a fifth more memory (benchmarks/training.py).
    """
    allocator = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if allocator is not None:
        allocator(M_MMAP_MAX, 0)
        allocator(M_TRIM_THRESHOLD, -1)


def sum_over_devices(fabric: Fabric, values: Tensor) -> Tensor:
    """Return the sum of the devices' `values`, the same on all of them."""
    return cast(Tensor, fabric.all_reduce(values, reduce_op="sum"))


@contextmanager
def connected(fabric: Fabric) -> Iterator[None]:
    """Turn the network error that follows from the end of another process into an InputError that says so."""
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size > 1 and (isinstance(error, DistError) or "gloo" in str(error)):
            raise InputError(
                "another process of this run has ended, and its own message says why unless it was killed; start "
                "the run again to go on from its last checkpoint"
            ) from error
        raise


def describe(device: torch.device) -> str:
    """Return what distinguishes devices whose results differ in the last bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability} with {torch.get_num_threads()} threads"
