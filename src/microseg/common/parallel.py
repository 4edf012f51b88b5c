"""Distributing work over the cores of the processor."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import psutil

from microseg.common.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")

# A process takes a second or two to start, which has to be worth it.
ITEMS_FOR_A_PROCESS = 32

# A few items at a time are cheaper to hand over than single ones, and still keep all workers busy to the end.
ITEMS_AT_A_TIME = 4


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], description: str, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in order, behind a progress bar.

    `function` is at the top level of a module, or a `functools.partial` of one that is. What it raises is raised
    here. There is a process for each core, or fewer for few items; a single worker is this process itself.
    """
    count = workers or min(usable_cores(), len(items) // ITEMS_FOR_A_PROCESS)
    if count <= 1:
        yield from progress(map(function, items), description, total=len(items))
        return
    # A fresh interpreter for each worker behaves the same on every system and inherits no locked threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_exit_with_parent) as pool:
        results = pool.map(function, items, chunksize=ITEMS_AT_A_TIME)
        yield from progress(results, description, total=len(items))


def usable_cores() -> int:
    """Return how many cores this process may use, or how many there are if the system does not say."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):
        return len(process.cpu_affinity())
    return psutil.cpu_count() or 1


def _exit_with_parent() -> None:
    """Let a worker exit when its parent is killed, instead of waiting for work forever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
