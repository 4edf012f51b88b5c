"""Freed memory is kept for the next step or micrograph, and given back when that is asked for."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory")

PROGRAM = """
import numpy as np
import psutil
from microseg.network.devices import trim_memory, keep_freed_memory

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


def test_freed_memory_is_kept_until_it_is_to_be_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    taken, kept, rest = map(int, done.stdout.split())
    assert taken >= 190
    assert kept >= 190
    assert rest <= 20
