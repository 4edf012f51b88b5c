"""Where a training or a prediction runs, on how many devices, and with which numbers."""

import ctypes
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
from microseg.network.environment import FABRIC_PRECISION, Precision, allow_tf32, resolve_precision

Accelerator = Literal["auto", "cpu", "cuda"]
Result = TypeVar("Result")

# More processes than this read faster than one GPU learns, and take memory that the system's cache of files needs.
MOST_WORKERS = 8

# While one process works, the others are heard from this often: far below any time limit of a collective.
SECONDS_BETWEEN_SIGNS = 1.0

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
    numbers = resolve_precision(precision, accelerator)
    allow_tf32(numbers == "tf32")
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
                f"train.devices, train.num_nodes: {devices} x {nodes} processes asked for, but {started} were "
                "started; give the launcher the same numbers"
            )
        environment.validate_settings(devices, nodes)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"train.devices, train.num_nodes: {error}") from error
    return environment


def resolve_workers(workers: int | Literal["auto"], device: torch.device, devices: int) -> int:
    """Return how many processes read ahead for one of `devices` on this machine.

    `auto` is one where the processor itself trains, as it is busy enough, and for a GPU one on each core that the
    other processes leave free, up to 8.
    """
    if workers != "auto":
        return workers
    if device.type == "cpu":
        return 1
    return min(max(usable_cores() // devices - 1, 1), MOST_WORKERS)


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
    if sys.platform == "linux":
        allocator = ctypes.CDLL(None)
        if hasattr(allocator, "mallopt"):
            allocator.mallopt(M_MMAP_MAX, 0)
            allocator.mallopt(M_TRIM_THRESHOLD, -1)


def trim_memory() -> None:
    """Give the system back, this once, the freed memory that `keep_freed_memory` has kept."""
    if sys.platform == "linux":
        allocator = ctypes.CDLL(None)
        if hasattr(allocator, "malloc_trim"):
            allocator.malloc_trim(0)


def all_reduce_sum(fabric: Fabric, values: Tensor) -> Tensor:
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


def is_idle(device: torch.device) -> bool:
    """Return whether a device has nothing left to do; the processor itself has not, whenever it is asked."""
    return device.type != "cuda" or torch.cuda.current_stream(device).query()


def run_on_rank_zero(fabric: Fabric, work: Callable[[], Result]) -> Result | None:
    """Run `work`, which may take hours, in the first process and return its result there, None in the others.

    Waiting for a single collective would end with its time limit after some minutes. So the processes exchange a
    sign of life every second, and the work is done in a thread beside that.

    Raises:
        BaseException: what `work` raised.
    """
    if fabric.world_size == 1:
        return work()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again in the thread that asked for the work
            errors.append(error)

    # A daemon, so that Ctrl-C does not have to wait for it.
    thread = threading.Thread(target=run, daemon=True)
    if fabric.is_global_zero:
        thread.start()
    working = True
    while working:
        if fabric.is_global_zero:
            thread.join(SECONDS_BETWEEN_SIGNS)
        working = fabric.broadcast(thread.is_alive())
    if errors:
        raise errors[0]
    return results[0] if results else None
