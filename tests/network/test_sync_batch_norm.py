"""Batch normalization of two processes, compared with that of one process with the whole batch."""

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn

from microseg.network.batch_norm import SyncBatchNorm2d

FEATURES = torch.linspace(-2, 5, 5 * 3 * 4 * 6).sin().reshape(5, 3, 4, 6) * 3 + 1
CROPS = [[0, 1, 2], [3, 4]]
"""The crops of each device."""


def layer(momentum: float | None) -> nn.BatchNorm2d:
    created = SyncBatchNorm2d(3, momentum=momentum)
    nn.init.uniform_(created.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return created


def compute(batch_norm: nn.Module, features: Tensor) -> list[Tensor]:
    """Return the output, the gradients of the input and of the weights, and the running statistics."""
    values = features.clone().requires_grad_()
    normalized = batch_norm(values)
    normalized.pow(3).sum().backward()
    gradients = [values.grad, *(parameter.grad for parameter in batch_norm.parameters())]
    return [tensor.detach() for tensor in (normalized, *gradients, *batch_norm.buffers())]


def count_exchanges() -> list[Tensor]:
    """Note every exchange of this process from now on."""
    noted: list[Tensor] = []
    original = distributed.all_reduce
    distributed.all_reduce = lambda values: noted.append(values) or original(values)
    return noted


def work(rank: int, momentum: float | None, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    exchanges = count_exchanges()
    results = compute(layer(momentum), FEATURES[CROPS[rank]])
    torch.save((results, len(exchanges)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_two_devices_normalize_like_one_with_the_whole_batch(momentum, tmp_path):
    multiprocessing.start_processes(work, (momentum, str(tmp_path)), nprocs=2, start_method="fork")
    (first, exchanges), (second, _) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert exchanges == 2  # one forward, one backward
    normalized, gradients = (torch.cat([results[number] for results in (first, second)]) for number in (0, 1))
    found = [normalized, gradients, first[2] + second[2], first[3] + second[3], *first[4:]]
    for one, two in zip(compute(layer(momentum), FEATURES), found, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(*buffers) for buffers in zip(first[4:], second[4:], strict=True))
