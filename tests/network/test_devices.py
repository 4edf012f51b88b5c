"""The processes of a run: how they are started, how many workers they have, and what they do together."""

import logging
import threading
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric.accelerators import cuda

from microseg.common.errors import InputError
from microseg.network import devices
from microseg.network.devices import is_idle, resolve_workers, run_on_rank_zero, start


@pytest.mark.parametrize(
    ("device", "cores", "gpus", "workers"),
    [("cpu", 64, 1, 1), ("cuda", 1, 1, 1), ("cuda", 4, 1, 3), ("cuda", 16, 4, 3), ("cuda", 64, 1, 8)],
)
def test_auto_takes_a_worker_for_each_core_that_a_gpu_leaves_free(monkeypatch, device, cores, gpus, workers):
    monkeypatch.setattr(devices, "usable_cores", lambda: cores)
    assert resolve_workers("auto", torch.device(device), gpus) == workers
    assert resolve_workers(0, torch.device(device), gpus) == 0


def test_a_gpu_with_queued_work_is_not_idle(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(query=lambda: False))
    assert not is_idle(torch.device("cuda"))
    assert is_idle(torch.device("cpu"))


def test_fabric_does_not_advise_another_precision_than_that_of_params(monkeypatch, caplog):
    start("cpu", "float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
    monkeypatch.setattr(cuda, "_is_ampere_or_later", lambda _: True)
    caplog.set_level(logging.INFO)
    cuda._check_cuda_matmul_precision.__wrapped__(torch.device("cuda"))
    cuda.rank_zero_info("Using bfloat16")
    assert caplog.messages == ["Using bfloat16"]


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


def test_while_one_process_works_the_others_get_heartbeats(monkeypatch):
    monkeypatch.setattr(devices, "HEARTBEAT_SECONDS", 0.001)
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


def test_an_error_in_that_work_is_raised():
    def work() -> None:
        raise InputError("no such file")

    with pytest.raises(InputError, match="no such file"):
        run_on_rank_zero(TwoProcesses(rank=0), work)  # type: ignore[arg-type]


def test_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"train\.devices: 2 on cuda asked for, but this machine has 1"):
        start("cuda", "auto", devices=2)


def test_cuda_without_a_gpu_is_refused_by_the_parameter_that_asks_for_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(
        InputError, match=r"train\.accelerator: cuda, but this machine has no usable GPU; set it to auto"
    ):
        start("cuda", "auto")


def test_a_job_of_slurm_without_srun_starts_its_own_processes(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert not devices.launcher(devices=4, nodes=1).creates_processes_externally


def test_what_is_missing_for_srun_is_refused(monkeypatch):
    for variable in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.setenv(variable, "4")
    with pytest.raises(InputError, match=r"train\.devices, train\.num_nodes: .*--ntasks-per-node=4"):
        devices.launcher(devices=4, nodes=1)


def test_starting_chooses_deterministic_algorithms_without_filling_memory():
    assert start("cpu", "auto").world_size == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
