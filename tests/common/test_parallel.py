"""Work in several processes: results in order, errors passed on, no orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from microseg.common import parallel
from microseg.common.errors import InputError
from microseg.common.parallel import map_in_processes, usable_cores


def square(number):
    return number * number


def process_of(_):
    return os.getpid()


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


@pytest.mark.skipif(
    not hasattr(psutil.Process, "cpu_affinity"), reason="processes cannot be restricted to some cores"
)
def test_cores_that_this_process_may_not_use_do_not_count():
    process = psutil.Process()
    allowed = process.cpu_affinity()
    try:
        process.cpu_affinity(allowed[:1])
        assert usable_cores() == 1
    finally:
        process.cpu_affinity(allowed)
    assert usable_cores() == len(allowed)


def test_all_cores_count_if_the_system_does_not_restrict_processes(monkeypatch):
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)
    assert usable_cores() == psutil.cpu_count()


def test_many_items_go_to_a_process_on_each_core_and_few_stay_here(monkeypatch):
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)
    few, many = range(parallel.ITEMS_FOR_A_PROCESS), range(-1, 2 * parallel.ITEMS_FOR_A_PROCESS)
    assert set(map_in_processes(process_of, few, "few")) == {os.getpid()}
    assert os.getpid() not in set(map_in_processes(process_of, many, "many"))


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
