"""DVC's command line, whose `exp run --temp` runs the experiment it was asked for and no other.

Having run its own, DVC looks for another one, where every such command puts its settings aside while it starts.
So it also runs the experiment of a command that is just starting, which then runs it too, or fails.
"""

import sys

from dvc.cli import main
from dvc.repo.experiments.exceptions import ExpQueueEmptyError
from dvc.repo.experiments.queue import tempdir
from dvc.repo.experiments.queue.base import QueueGetResult


class SingleExperiment(tempdir.TempDirQueue):  # type: ignore[misc]
    """DVC's queue for `exp run --temp`, which is empty once an experiment was taken from it."""

    _taken = False

    def get(self) -> QueueGetResult:
        """Return the experiment to run; raises DVC's ExpQueueEmptyError after the first."""
        if self._taken:
            raise ExpQueueEmptyError("this command has run its experiment")
        self._taken = True
        return super().get()


if __name__ == "__main__":
    tempdir.TempDirQueue = SingleExperiment
    sys.exit(main(sys.argv[1:]))
