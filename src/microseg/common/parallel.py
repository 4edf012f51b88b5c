"""Work spread over the processor's cores."""

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

# A process takes a second or two to start: it has to get enough work to be worth that.
ITEMS_FOR_A_PROCESS = 32

# Handing over a few items at a time costs less than one by one and still keeps all workers busy to the end.
ITEMS_AT_A_TIME = 4


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], description: str, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in order, behind a progress bar.

    Args:
        function: a function at the top level of a module, or a `functools.partial` of one.
        items: what to work on.
        description: what the progress bar says.
        workers: number of processes; None for one on each core, fewer where there are few items. One worker is
            this process itself.

    Raises:
        Exception: what `function` raised for the first item that failed; items not yet begun are left out.
    """
    count = workers or min(usable_cores(), len(items) // ITEMS_FOR_A_PROCESS)
    if count <= 1:
        yield from progress(map(function, items), description, total=len(items))
        return
    # A fresh interpreter for each worker behaves the same on every system and inherits no locked threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
        results = pool.map(function, items, chunksize=ITEMS_AT_A_TIME)
        yield from progress(results, description, total=len(items))


def usable_cores() -> int:
    """Return on how many cores this process may run, where the system says so, else how many there are."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):
        return len(process.cpu_affinity())
    return psutil.cpu_count() or 1


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed, instead of waiting for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
