import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from microseg.common.errors import InputError
from microseg.common.parallel import map_in_processes


def square(number):
    return number * number


def refuse_seven(number):
    if number == 7:
        raise InputError("seven cannot be used")
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(map_in_processes(square, range(20), "squaring", workers)) == [number**2 for number in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_reaches_the_caller(workers):
    with pytest.raises(InputError, match="seven cannot be used"):
        list(map_in_processes(refuse_seven, range(20), "squaring", workers))


def test_nothing_to_do():
    assert list(map_in_processes(square, [], "squaring")) == []


def test_workers_end_when_their_parent_is_killed():
    program = (
        "import time\n"
        "from microseg.common.parallel import map_in_processes\n"
        "if __name__ == '__main__':\n"
        "    list(map_in_processes(time.sleep, [0.1] * 5 + [600] * 5, 'sleeping', 2))\n"
    )
    source = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, env=os.environ | source)
    workers = []
    deadline = time.monotonic() + 60
    while len(workers) < 2:
        assert time.monotonic() < deadline
        workers = [
            child for child in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        time.sleep(0.05)
    time.sleep(1)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert alive == []
