"""Experiments that run at the same time get a GPU each."""

import os
import subprocess
from pathlib import Path

import pytest

from microseg.experiments.sweep import assign_gpus, visible_gpus

TWO_WHOLE = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-22222222-bbbb)
"""
ONE_PARTITIONED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa)
  MIG 1g.5gb      Device  0: (UUID: MIG-33333333-cccc)
  MIG 1g.5gb      Device  1: (UUID: MIG-44444444-dddd)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-bbbb)
"""


def program(folder: Path, listed: str, code: int = 0) -> None:
    """Write a fake nvidia-smi that lists GPUs in the format of the real one."""
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n[ \"$1\" = --list-gpus ] || exit 9\ncat <<'END'\n{listed}END\nexit {code}\n")
    script.chmod(0o755)


@pytest.mark.parametrize(
    ("listed", "code", "expected"),
    [
        (TWO_WHOLE, 0, ["GPU-11111111-aaaa", "GPU-22222222-bbbb"]),
        (ONE_PARTITIONED, 0, ["MIG-33333333-cccc", "MIG-44444444-dddd", "GPU-22222222-bbbb"]),
        ("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.\n", 9, []),
    ],
)
def test_gpus_are_those_listed_by_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, code: int, expected: list[str]
) -> None:
    program(tmp_path, listed, code)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    assert visible_gpus() == expected


def test_there_are_none_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(subprocess, "run", missing)
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("named", "expected"),
    [("2,5", ["2", "5"]), ("GPU-1, GPU-2", ["GPU-1", "GPU-2"]), ("", []), ("-1", []), ("1,-1,2", ["1"])],
)
def test_the_choice_of_the_user_is_respected(
    monkeypatch: pytest.MonkeyPatch, named: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected


@pytest.mark.parametrize(
    ("gpus", "jobs", "each", "expected"),
    [
        ("ab", 2, 1, ["a", "b"]),
        ("abcd", 2, 1, ["a", "b"]),
        ("abcd", 2, 2, ["a,b", "c,d"]),
        ("ab", 3, 1, ["a", "b", "a"]),
        ("a", 2, 1, [None, None]),
        ("abc", 2, 2, [None, None]),
        ("", 2, 1, [None, None]),
        ("abcd", 1, 1, [None]),
    ],
)
def test_each_job_gets_its_own_gpus(gpus: str, jobs: int, each: int, expected: list[str | None]) -> None:
    assert assign_gpus(list(gpus), jobs, each) == expected
