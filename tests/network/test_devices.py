import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from microseg.common.errors import InputError
from microseg.network import devices, environment
from microseg.network.devices import is_idle, resolve_workers, run_on_rank_zero, start
from microseg.network.environment import allow_tf32, precision_of, resolve_precision

from tiny_training import ROOT


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx2 avx512f", "float32"), ("avx512f avx512_bf16 fma", "bf16"), ("amx_bf16", "bf16"), ("", "float32")],
)
def test_auto_takes_bf16_where_the_processor_has_it(tmp_path, monkeypatch, flags, precision):
    info = tmp_path / "cpuinfo"
    info.write_text(f"model name : any\nflags : {flags}\n")
    monkeypatch.setattr(environment, "CPU_INFO", info)
    assert resolve_precision("auto", "cpu") == precision


def test_auto_takes_float32_where_the_system_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "missing")
    assert resolve_precision("auto", "cpu") == "float32"


# A100, T4, V100 and P100: the last one is no faster with fp16.
@pytest.mark.parametrize(
    ("native", "capability", "precision"),
    [(True, (8, 0), "bf16"), (False, (7, 5), "fp16"), (False, (7, 0), "fp16"), (False, (6, 0), "float32")],
)
def test_auto_takes_fp16_where_a_gpu_only_imitates_bf16(monkeypatch, native, capability, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert resolve_precision("auto", "cuda") == precision


def test_what_is_asked_for_is_taken():
    for name in ("float32", "tf32", "bf16", "fp16"):
        assert resolve_precision(name, "cuda") == name  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_what_only_gpus_have_is_refused_on_a_cpu(precision):
    with pytest.raises(InputError, match=rf"train\.precision: {precision} is for GPUs only"):
        start("cpu", precision)


def test_float32_is_not_rounded_to_tf32():
    allow_tf32(True)
    assert precision_of(start("cpu", "float32")) == "float32"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(("fabrics", "tf32", "name"), [
    ("32-true", False, "float32"), ("32-true", True, "tf32"),
    ("bf16-mixed", True, "bf16"), ("16-mixed", False, "fp16"),
])  # fmt: skip
def test_the_precision_in_use_has_a_name(monkeypatch, fabrics, tf32, name):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    strategy = SimpleNamespace(precision=SimpleNamespace(precision=fabrics))
    fabric = SimpleNamespace(strategy=strategy, device=torch.device("cuda"))
    assert precision_of(fabric) == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "cores", "gpus", "workers"),
    [("cpu", 64, 1, 1), ("cuda", 1, 1, 1), ("cuda", 4, 1, 3), ("cuda", 16, 4, 3), ("cuda", 64, 1, 8)],
)
def test_auto_reads_with_the_cores_that_a_gpu_leaves_free(monkeypatch, device, cores, gpus, workers):
    monkeypatch.setattr(devices, "usable_cores", lambda: cores)
    assert resolve_workers("auto", torch.device(device), gpus) == workers
    assert resolve_workers(0, torch.device(device), gpus) == 0


def test_a_gpu_with_work_left_is_not_idle(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(query=lambda: False))
    assert not is_idle(torch.device("cuda"))
    assert is_idle(torch.device("cpu"))


class TwoProcesses:
    """Stands in for the Fabric of one of two processes, and counts what they exchange."""

    world_size = 2

    def __init__(self, rank: int, answers: tuple[bool, ...] = ()) -> None:
        self.is_global_zero = rank == 0
        self.exchanged: list[bool] = []
        self.answers = list(answers)

    def broadcast(self, value: bool) -> bool:
        self.exchanged.append(value if self.is_global_zero else self.answers.pop(0))
        return self.exchanged[-1]


def test_while_one_process_works_the_others_hear_from_it(monkeypatch):
    monkeypatch.setattr(devices, "SECONDS_BETWEEN_SIGNS", 0.001)
    fabric, exchanged_enough = TwoProcesses(rank=0), threading.Event()

    def work() -> str:
        while len(fabric.exchanged) < 5:
            exchanged_enough.wait(0.001)
        return "done"

    assert run_on_rank_zero(fabric, work) == "done"  # type: ignore[arg-type]
    assert fabric.exchanged[-1] is False
    assert all(fabric.exchanged[:-1])
    assert len(fabric.exchanged) > 5


def test_the_others_do_not_work_themselves():
    fabric = TwoProcesses(rank=1, answers=(True, True, False))
    assert run_on_rank_zero(fabric, lambda: pytest.fail("worked")) is None  # type: ignore[arg-type]
    assert fabric.exchanged == [True, True, False]


def test_an_error_in_that_work_comes_out():
    def work() -> None:
        raise InputError("no such file")

    with pytest.raises(InputError, match="no such file"):
        run_on_rank_zero(TwoProcesses(rank=0), work)  # type: ignore[arg-type]


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

if sys.argv[1] == "checkpoint":
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
