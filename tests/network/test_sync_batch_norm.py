"""Batch normalization of two processes, compared with that of one process with the whole batch."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn

from microseg.network.batch_norm import SyncBatchNorm2d, excluded_from_sync

FEATURES = torch.linspace(-2, 5, 5 * 3 * 4 * 6).sin().reshape(5, 3, 4, 6) * 3 + 1
CROPS = {"uneven": [[0, 1, 2], [3, 4]], "one excluded": [[0, 1, 2, 3, 4], [2]]}


def layer(momentum: float | None) -> nn.BatchNorm2d:
    created = SyncBatchNorm2d(3, momentum=momentum)
    nn.init.uniform_(created.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return created


def compute(batch_norm: nn.Module, features: Tensor, weight: float) -> list[Tensor]:
    """Return the output, the gradients of the input and of the weights, and the running statistics."""
    values = features.clone().requires_grad_()
    normalized = batch_norm(values)
    (normalized.pow(3) * weight).sum().backward()
    gradients = [values.grad, *(parameter.grad for parameter in batch_norm.parameters())]
    return [tensor.detach() for tensor in (normalized, *gradients, *batch_norm.buffers())]


def count_exchanges() -> list[Tensor]:
    """Note every exchange of this process from now on."""
    noted: list[Tensor] = []
    original = distributed.all_reduce
    distributed.all_reduce = lambda values: noted.append(values) or original(values)
    return noted


def work(rank: int, crops: list[list[int]], momentum: float | None, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    exchanges = count_exchanges()
    batch_norm, excluded = layer(momentum), rank == 1 and len(crops[0]) == len(FEATURES)
    with excluded_from_sync(batch_norm) if excluded else nullcontext():
        results = compute(batch_norm, FEATURES[crops[rank]], weight=0.0 if excluded else 1.0)
    torch.save((results, len(exchanges)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("crops", CROPS.values(), ids=CROPS)
def test_two_devices_normalize_like_one_with_the_whole_batch(crops, momentum, tmp_path):
    multiprocessing.start_processes(work, (crops, momentum, str(tmp_path)), nprocs=2, start_method="fork")
    (first, exchanges), (second, _) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert exchanges == 2  # one forward, one backward
    included = [first] if len(crops[0]) == len(FEATURES) else [first, second]
    normalized, gradients = (torch.cat([results[number] for results in included]) for number in (0, 1))
    found = [normalized, gradients, first[2] + second[2], first[3] + second[3], *first[4:]]
    for one, two in zip(compute(layer(momentum), FEATURES, 1.0), found, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(*buffers) for buffers in zip(first[4:], second[4:], strict=True))
