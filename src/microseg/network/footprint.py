"""How much memory a network of others takes, counted on a copy without values, which computes nothing."""

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from microseg.common.errors import InputError
from microseg.network.networks import EncoderNetwork, Network

SIDES = (128, 160)
"""Height and width of the micrograph that is counted with; what is stored and held grows with the pixels."""


@dataclass(frozen=True)
class Footprint:
    """What a network takes, in numbers of whatever size they have."""

    name: str
    """What the network is, as an error calls it."""
    weights: int
    """Its weights."""
    stored: float
    """What a training stores for the backward pass, for each pixel of a crop; 0 where nothing is trained."""
    held: float
    """What a prediction holds at most at once, for each pixel of a micrograph."""


def footprint_of(network: Network, batch_size: int | None = None) -> Footprint | None:
    """Return what a network takes, in training with batches of that size, or, with None, in prediction alone.

    The size of the U-Net is known without counting; for it None is returned.

    Raises:
        InputError: the network cannot compute such batches, or micrographs of any size.
    """
    if not isinstance(network, EncoderNetwork):
        return None
    empty = copy.deepcopy(network).to("meta")
    pixels = SIDES[0] * SIDES[1]
    try:
        # Some networks take the mean and deviation of single values, which a batch of one crop does not have. In
        # prediction they use averages, and so a micrograph on its own is no trouble.
        stored = 0.0 if batch_size is None else _stored(empty.train(), batch_size) / pixels / batch_size
        held = _held(empty.eval()) / pixels
    except (ValueError, RuntimeError, AssertionError) as error:
        what = "micrographs" if batch_size is None else f"batches of {batch_size} crops"
        remedy = "" if batch_size is None else "raise train.batch_size to 2 or more, or "
        raise InputError(
            f"train.architecture, train.encoder: {network.name} cannot compute {what} of any size ({error}); "
            f"{remedy}choose another network"
        ) from error
    return Footprint(network.name, sum(weight.numel() for weight in network.parameters()), stored, held)


def _stored(network: EncoderNetwork, batch_size: int) -> int:
    """Return how many numbers the network stores for the backward pass, without its weights."""
    sizes: dict[int, int] = {}  # bytes of each storage

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        return tensor

    weights = {tensor.untyped_storage()._cdata for tensor in network.state_dict(keep_vars=True).values()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = network(torch.zeros(batch_size, 1, *SIDES, device="meta"))
    # Only while the logits live does no other tensor get the place of one that is stored for them.
    return int(logits.nbytes + sum(size for place, size in sizes.items() if place not in weights)) // 4


def _held(network: EncoderNetwork) -> int:
    """Return how many numbers the network holds at most at once in prediction, without its weights."""
    with torch.no_grad(), Peak() as peak:
        network(torch.zeros(1, 1, *SIDES, device="meta"))
    return int(peak.bytes) // 4


@dataclass
class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the largest sum of bytes that the results of operations held at once."""

    alive: list[weakref.ref[Tensor]] = field(default_factory=list)
    bytes: int = 0

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and note what it leaves."""
        result = function(*args, **(kwargs or {}))
        self.alive += [weakref.ref(one) for one in tree_leaves(result) if isinstance(one, Tensor)]
        self.alive = [reference for reference in self.alive if reference() is not None]
        storages = [one.untyped_storage() for reference in self.alive if (one := reference()) is not None]
        self.bytes = max(self.bytes, sum({storage._cdata: storage.nbytes() for storage in storages}.values()))
        return result
