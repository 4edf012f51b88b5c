"""Progress bars with an estimate of the remaining time, quieter in log files than in terminals."""

import sys
from collections.abc import Iterable
from typing import NoReturn, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# In a terminal a bar moves twice a second; in a log file every redraw is one more line to scroll past.
TERMINAL_INTERVAL, LOG_INTERVAL = 0.5, 30.0


def _interval() -> float:
    return TERMINAL_INTERVAL if sys.stderr.isatty() else LOG_INTERVAL


def progress(
    items: Iterable[Item],
    description: str,
    total: int | None = None,
    unit: str = "micrograph",
    shown: bool = True,
) -> "tqdm[Item]":
    """Iterate over `items`, whose number is `total` if they have no length, behind a bar on standard error."""
    return tqdm(items, desc=description, total=total, unit=f" {unit}", mininterval=_interval(), disable=not shown)


def byte_progress(description: str, total: int, done: int) -> "tqdm[NoReturn]":
    """Return a progress bar of bytes with speed and remaining time, starting at `done`; its `update` moves it."""
    return tqdm(desc=description, total=total, initial=done, unit="B", unit_scale=True, mininterval=_interval())
