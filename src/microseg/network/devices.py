"""Devices and processes: starting a run on them, its number of workers, and what its processes do together."""

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor
from torch.distributed import DistError

from microseg.common.errors import InputError
from microseg.common.parallel import usable_cores
from microseg.common.params import Accelerator, Precision
from microseg.network.environment import FABRIC_PRECISION, allow_tf32, resolve_precision

Result = TypeVar("Result")

# More workers than this read faster than one GPU trains, and take memory from the file cache of the system.
MAX_WORKERS = 8

# How often the processes exchange a heartbeat while one of them works: far below the timeout of any collective.
HEARTBEAT_SECONDS = 1.0

# Parameters of mallopt(3), as numbered in malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def start(accelerator: Accelerator, precision: Precision, devices: int = 1, nodes: int = 1) -> Fabric:
    """Start all processes of a run and return the Fabric they share; called once in each process.

    Without torchrun or Slurm's srun the first process on each node starts the others by running the same script
    again.

    Raises:
        InputError: this machine has no such device, the device does not support the precision, or the launcher
            started another number of processes.
    """
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda":
        usable = torch.cuda.device_count()
        if not usable:
            raise InputError("train.accelerator: cuda, but this machine has no usable GPU; set it to auto or cpu")
        if usable < devices:
            raise InputError(
                f"train.devices: {devices} on cuda asked for, but this machine has {usable} usable GPUs; lower it"
            )
    make_deterministic(accelerator)
    if accelerator == "cpu":
        keep_freed_memory()
    numbers = resolve_precision(precision, accelerator)
    allow_tf32(numbers == "tf32")
    logging.getLogger("lightning_fabric.utilities.rank_zero").addFilter(is_not_about_tf32)
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision=FABRIC_PRECISION[numbers],
        plugins=launcher(devices, nodes),
    )
    fabric.launch()
    return fabric


def is_not_about_tf32(record: logging.LogRecord) -> bool:
    """Return False for Fabric's advice to allow TF32, which is for train.precision to say."""
    return "set_float32_matmul_precision" not in record.getMessage()


def launcher(devices: int, nodes: int) -> ClusterEnvironment:
    """Return what starts the processes of this run: torchrun, srun, or the first process itself."""
    environment: ClusterEnvironment
    try:
        if TorchElasticEnvironment.detect():
            environment = TorchElasticEnvironment()
        # A Slurm job without srun runs one process, whatever it was allocated.
        elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            environment = SLURMEnvironment(auto_requeue=False)
        else:
            return LightningEnvironment()
        started = environment.world_size()
        if started != devices * nodes:
            raise InputError(
                f"train.devices, train.num_nodes: {devices} x {nodes} processes asked for, but {started} were "
                "started; give the launcher the same numbers"
            )
        environment.validate_settings(devices, nodes)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"train.devices, train.num_nodes: {error}") from error
    return environment


def resolve_workers(workers: int | Literal["auto"], device: torch.device, devices: int) -> int:
    """Return the number of data loader workers for one of `devices` on this machine.

    `auto` is one where the CPU itself trains, and for a GPU one for each core that the training processes leave
    free, up to 8.
    """
    if workers != "auto":
        return workers
    if device.type == "cpu":
        return 1
    return min(max(usable_cores() // devices - 1, 1), MAX_WORKERS)


def make_deterministic(accelerator: Literal["cpu", "cuda"]) -> None:
    """Choose deterministic algorithms, as far as the device has them."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as the documentation of cuBLAS requires
    # On GPUs the backward pass of max-pooling has no deterministic algorithm: warn there instead of failing.
    torch.use_deterministic_algorithms(True, warn_only=accelerator == "cuda")
    # With deterministic algorithms torch also fills all new memory with NaN, which costs time and helps nothing
    # here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def keep_freed_memory() -> None:
    """Let the allocator of glibc reuse freed memory instead of returning it to the system after every step.

    That saves a quarter of the CPU time and takes a fifth more memory (benchmarks/training.py).
    """
    if sys.platform == "linux":
        allocator = ctypes.CDLL(None)
        if hasattr(allocator, "mallopt"):
            allocator.mallopt(M_MMAP_MAX, 0)
            allocator.mallopt(M_TRIM_THRESHOLD, -1)


def trim_memory() -> None:
    """Return to the system, once, the freed memory that `keep_freed_memory` keeps."""
    if sys.platform == "linux":
        allocator = ctypes.CDLL(None)
        if hasattr(allocator, "malloc_trim"):
            allocator.malloc_trim(0)


def all_reduce_sum(fabric: Fabric, values: Tensor) -> Tensor:
    """Return the sum of `values` over all devices, the same on each of them."""
    return cast(Tensor, fabric.all_reduce(values, reduce_op="sum"))


@contextmanager
def connected(fabric: Fabric) -> Iterator[None]:
    """Turn the network error that follows when another process ends into an InputError that says so."""
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size > 1 and (isinstance(error, DistError) or "gloo" in str(error)):
            raise InputError(
                "another process of this run has ended, and its own message says why unless it was killed; start "
                "the run again to resume from its last checkpoint"
            ) from error
        raise


def is_idle(device: torch.device) -> bool:
    """Return whether a device has finished all queued work; a CPU always has, because nothing is queued on it."""
    return device.type != "cuda" or torch.cuda.current_stream(device).query()


def run_on_rank_zero(fabric: Fabric, work: Callable[[], Result]) -> Result | None:
    """Run `work`, which may take hours, in the first process; return its result there and None in the others.

    A single collective would time out after some minutes. So `work` runs in a thread, while the processes exchange
    a heartbeat every second.
    """
    if fabric.world_size == 1:
        return work()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again in the calling thread
            errors.append(error)

    # A daemon thread, so that Ctrl-C does not wait for it.
    thread = threading.Thread(target=run, daemon=True)
    if fabric.is_global_zero:
        thread.start()
    working = True
    while working:
        if fabric.is_global_zero:
            thread.join(HEARTBEAT_SECONDS)
        working = fabric.broadcast(thread.is_alive())
    if errors:
        raise errors[0]
    return results[0] if results else None
