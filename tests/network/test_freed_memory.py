"""Freed memory is reused for the next step or micrograph, and returned to the system on request."""

import subprocess
import sys

import pytest

from tiny_training import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory")

PROGRAM = """
import numpy as np
import psutil
from microseg.network.devices import keep_freed_memory, trim_memory

def resident():
    return psutil.Process().memory_info().rss // 1_000_000

keep_freed_memory()
before = resident()
pixels = np.ones(200_000_000, np.uint8)
taken = resident()
del pixels
kept = resident()
trim_memory()
print(taken - before, kept - before, resident() - before)
"""


def test_freed_memory_is_kept_until_it_is_trimmed():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": f"{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    taken, kept, rest = map(int, done.stdout.split())
    assert taken >= 190
    assert kept >= 190
    assert rest <= 20


PAGE_FAULTS = """
import resource, sys
import numpy as np
from microseg.network.devices import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(12_500_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_reused():
    def page_faults(what: str) -> int:
        command = [sys.executable, "-c", PAGE_FAULTS, what]
        done = subprocess.run(command, env={"PYTHONPATH": f"{ROOT / 'src'}"}, capture_output=True, check=True)
        return int(done.stdout)

    # Ten times 100 MB of new memory, or ten times the same 100 MB; how much a fault maps is up to the system.
    assert page_faults("keep") < page_faults("return") / 2
