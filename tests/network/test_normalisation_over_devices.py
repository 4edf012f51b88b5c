"""Batch normalisation of two processes, compared with that of one process that has all of the batch."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn

from microseg.network.batch_norm import SyncBatchNorm2d, excluded_from_sync

FEATURES = torch.linspace(-2, 5, 5 * 3 * 4 * 6).sin().reshape(5, 3, 4, 6) * 3 + 1
SHARES = {"uneven": [[0, 1, 2], [3, 4]], "one is idle": [[0, 1, 2, 3, 4], [2]]}


def layer(momentum: float | None) -> nn.BatchNorm2d:
    normalisation = SyncBatchNorm2d(3, momentum=momentum)
    nn.init.uniform_(normalisation.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return normalisation


def compute(normalisation: nn.Module, features: Tensor, weight: float) -> list[Tensor]:
    """Return what comes out, the gradients of what goes in and of the weights, and the averages."""
    values = features.clone().requires_grad_()
    normalised = normalisation(values)
    (normalised.pow(3) * weight).sum().backward()
    gradients = [values.grad, *(parameter.grad for parameter in normalisation.parameters())]
    return [tensor.detach() for tensor in (normalised, *gradients, *normalisation.buffers())]


def work(rank: int, shares: list[list[int]], momentum: float | None, place: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=2)
    normalisation, idle = layer(momentum), rank == 1 and len(shares[0]) == len(FEATURES)
    with excluded_from_sync(normalisation) if idle else nullcontext():
        results = compute(normalisation, FEATURES[shares[rank]], weight=0.0 if idle else 1.0)
    torch.save(results, f"{place}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
def test_two_devices_normalise_as_one_with_all_of_the_batch(shares, momentum, tmp_path):
    multiprocessing.start_processes(work, (shares, momentum, str(tmp_path)), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    busy = [first] if len(shares[0]) == len(FEATURES) else [first, second]
    normalised, gradients = (torch.cat([results[number] for results in busy]) for number in (0, 1))
    found = [normalised, gradients, first[2] + second[2], first[3] + second[3], *first[4:]]
    for one, two in zip(compute(layer(momentum), FEATURES, 1.0), found, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(*averages) for averages in zip(first[4:], second[4:], strict=True))
