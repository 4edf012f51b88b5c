import subprocess
import sys

import pytest
import torch

from microseg.common.errors import InputError
from microseg.network import devices
from microseg.network.devices import resolve_precision, start

from tiny_training import ROOT


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx2 avx512f", "float32"), ("avx512f avx512_bf16 fma", "bf16"), ("amx_bf16", "bf16"), ("", "float32")],
)
def test_auto_takes_bf16_where_the_processor_has_it(tmp_path, monkeypatch, flags, precision):
    info = tmp_path / "cpuinfo"
    info.write_text(f"model name : any\nflags : {flags}\n")
    monkeypatch.setattr(devices, "CPU_INFO", info)
    assert resolve_precision("auto", "cpu") == precision


def test_auto_takes_float32_where_the_system_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "CPU_INFO", tmp_path / "missing")
    assert resolve_precision("auto", "cpu") == "float32"


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "float32")])
def test_auto_does_not_take_a_gpu_s_imitation_of_bf16(monkeypatch, native, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert resolve_precision("auto", "cuda") == precision


def test_what_is_asked_for_is_taken():
    assert [resolve_precision(name, "cuda") for name in ("float32", "bf16", "fp16")] == ["float32", "bf16", "fp16"]


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(InputError, match=r"train\.precision: fp16 is for GPUs only"):
        start("cpu", "fp16")


def test_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"train\.devices: 2 on cuda asked for, but this machine has 1"):
        start("cuda", "auto", devices=2)


def test_a_job_of_slurm_without_srun_starts_its_own_processes(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert not devices.launcher(devices=4, nodes=1).creates_processes_externally


def test_what_is_missing_for_srun_is_refused(monkeypatch):
    for variable in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.setenv(variable, "4")
    with pytest.raises(InputError, match=r"train\.devices, train\.nodes: .*--ntasks-per-node=4"):
        devices.launcher(devices=4, nodes=1)


def test_starting_chooses_deterministic_algorithms_without_filling_memory():
    assert start("cpu", "auto").world_size == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory


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


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc is meant")
def test_freed_memory_is_not_given_back_to_the_system():
    def page_faults(answer: str) -> int:
        command = [sys.executable, "-c", PAGE_FAULTS, answer]
        done = subprocess.run(command, env={"PYTHONPATH": f"{ROOT / 'src'}"}, capture_output=True, check=True)
        return int(done.stdout)

    # Ten times 100 MB anew each time, or the same 100 MB ten times; how much a fault brings is up to the system.
    assert page_faults("keep") < page_faults("give back") / 2
