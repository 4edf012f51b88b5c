"""The training loop: epochs, steps, batches, and the validation between epochs."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from microseg.common.errors import InputError
from microseg.common.params import TrainParams
from microseg.common.progress import progress
from microseg.common.randomness import generator
from microseg.network.devices import all_reduce_sum, is_idle, resolve_workers
from microseg.network.environment import precision_of
from microseg.network.inputs import MaskedMicrographs, upsample
from microseg.network.losses import LOSSES, Loss
from microseg.network.memory import VALIDATION_REMEDIES, out_of_memory_advice
from microseg.network.model_card import IMAGENET, Pretraining
from microseg.network.networks import Network
from microseg.network.sliding_window import WHOLE, Tiling, tiled_logits
from microseg.training.data import (
    Batch,
    Draw,
    Sample,
    Sampler,
    TrainingCrops,
    TrainingData,
    WholeMicrographs,
    data_loader,
    next_batch,
)
from microseg.training.optimization import (
    EMA,
    LR_MULTIPLIER,
    STATISTICS_BATCHES,
    Schedule,
    new_network,
    new_optimizer,
    to_memory_format,
)
from microseg.training.pixel_cache import PixelCache
from microseg.training.records import (
    EpochRecord,
    TrainingState,
    Validation,
    Weights,
    best_record,
    copy_weights,
    is_regular,
    records_to_resume,
    should_stop,
)


class TrainingLoop:
    """A training in progress: `epochs` trains, `state` and `restore` save and load its complete state."""

    def __init__(
        self,
        fabric: Fabric,
        training: MaskedMicrographs,
        validation: MaskedMicrographs,
        params: TrainParams,
        seed: int,
        pixels: PixelCache,
        tiling: Tiling = WHOLE,
        initial_weights: Weights | None = None,
        pretraining: Pretraining = IMAGENET,
    ) -> None:
        self.fabric = fabric
        self.params = params
        self.validation = validation
        self.seed = seed
        self.tiling = tiling
        self.loss = LOSSES[params.loss]
        self.sampler = Sampler(
            seed=seed,
            micrographs=len(training.names),
            repeats=params.crops_per_micrograph if params.crop_size is not None else 1,
            batch_size=params.batch_size,
            accumulate=params.accumulate_grad_batches,
            world_size=fabric.world_size,
            rank=fabric.global_rank,
        )
        self.schedule = Schedule(
            params.schedule,
            params.lr,
            params.epochs,
            self.sampler.steps,
            params.warmup_epochs,
            params.decay_fraction,
        )
        network = new_network(params, seed, initial_weights or {}, pretraining)
        self.network = to_memory_format(network, params, fabric)
        self.ema = EMA(self.network, params.ema_decay) if params.ema_decay else None
        self.data = TrainingData(
            TrainingCrops(pixels, seed, params),
            WholeMicrographs(validation, params.input_normalization, params.downsample),
        )
        self.workers = resolve_workers(params.num_workers, fabric.device, params.devices)
        # Fused Adam does not unscale the gradients of fp16 before they are clipped.
        optimizer = new_optimizer(self.network, params, fused=precision_of(fabric) != "fp16")
        module = cast(nn.Module, torch.compile(self.network)) if params.compile else self.network
        self.module, self.optimizer = fabric.setup(module, optimizer)
        if self.ema:
            fabric.to_device(self.ema.network)
        self.records: tuple[EpochRecord, ...] = ()
        self.best_weights: Weights = {}

    def state(self) -> TrainingState:
        """Return the complete state after the last epoch, to be used before the training continues.

        The weights are copies; Adam's averages, twice their size, are not.
        """
        return TrainingState(
            records=self.records,
            weights=copy_weights(self.network),
            best_weights=self.best_weights,
            optimizer=self.optimizer.state_dict(),
            scaler=self.fabric.strategy.precision.state_dict(),
            average=copy_weights(self.ema.network) if self.ema else {},
        )

    def restore(self, state: TrainingState) -> None:
        """Continue from `state`, the end of an epoch."""
        is_complete = state.epoch >= self.params.epochs
        self.records = (
            state.records if is_complete else records_to_resume(state.records, self.params.validate_every)
        )
        self.best_weights = state.best_weights
        self.network.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        self.fabric.strategy.precision.load_state_dict(state.scaler)
        if self.ema:
            self.ema.network.load_state_dict(state.average)

    def epochs(self, last: int, patience: int | None) -> Iterator[EpochRecord]:
        """Train until epoch `last` or an early stop, and yield the record of each epoch at its end."""
        if should_stop(self.records, last, patience):
            if self.records[-1].validation is None:  # the state is from a longer training
                batches = iter(self._loader(self._validation_batches(), self.workers))
                yield self._validate(self.records[-1], batches)
            return
        first = len(self.records) + 1
        # Workers start as copies of this process: if started after a step, they would hold a copy of its memory.
        batches = iter(self._loader(self._batches(first, last), self.workers))
        steps = (last - first + 1) * self.sampler.steps
        nothing: list[object] = []
        with progress(nothing, "training", total=steps, unit="step", shown=self.fabric.is_global_zero) as bar:
            while not should_stop(self.records, last, patience):
                record = self._train_epoch(len(self.records) + 1, batches, bar)
                self.records = (*self.records, record)
                if self._is_validated(record.epoch, last):
                    record = self._validate(record, batches, bar)
                yield record

    def _train_epoch(self, epoch: int, batches: Iterator[Batch], bar: "tqdm[object]") -> EpochRecord:
        begin, waiting_seconds = time.perf_counter(), 0.0
        loss_meter = LossMeter(epoch)
        for number, step in enumerate(self.sampler.epoch(epoch)):
            for position in range(len(step)):
                start = time.perf_counter()
                batch = next_batch(batches)
                # A GPU that is still busy with queued work has not waited.
                if is_idle(self.fabric.device):
                    waiting_seconds += time.perf_counter() - start
                batch = self.fabric.to_device(batch)
                self._seed_network(epoch, number, position)
                losses = self._backward(batch, exchange_gradients=position == len(step) - 1)
                loss_meter.add(number + 1, batch.names, losses)
            self._update_weights((epoch - 1) * self.sampler.steps + number)
            bar.update()
        total = torch.tensor(loss_meter.total(), dtype=torch.float64, device=self.fabric.device)
        return EpochRecord(
            epoch=epoch,
            train_loss=all_reduce_sum(self.fabric, total).item() / self.sampler.crops,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - begin,
            waiting_seconds=waiting_seconds,
        )

    def _seed_network(self, epoch: int, step: int, position: int) -> None:
        """Make dropout and stochastic depth depend on seed and batch alone."""
        draws = generator(self.seed, "network", epoch, step, position, self.fabric.global_rank)
        torch.manual_seed(int(draws.integers(2**63)))

    def _backward(self, batch: Batch, exchange_gradients: bool) -> Tensor:
        """Accumulate the gradients of a batch and return the losses of its crops, 0 for those of weight 0."""
        with self.fabric.no_backward_sync(self.module, enabled=not exchange_gradients):
            losses = self.loss(self.module(batch.micrographs), batch.masks)
            # DDP averages the gradients of all devices, but the weights of a step sum to 1 over all of them.
            self.fabric.backward((losses * batch.weights).sum() * self.fabric.world_size)
        return torch.where(batch.weights > 0, losses.detach(), 0.0)

    def _update_weights(self, step: int) -> None:
        """Update the weights with the accumulated gradients, and reset those."""
        if self.params.max_grad_norm is not None:
            # Gradients of fp16 may have overflowed; the gradient scaler then skips the update.
            self.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.params.max_grad_norm, error_if_nonfinite=False
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(step) * group[LR_MULTIPLIER]
        self.optimizer.step()
        if self.ema:
            self.ema.update(self.network, step)
        self.optimizer.zero_grad()

    def _validate(
        self, record: EpochRecord, batches: Iterator[Batch], bar: "tqdm[object] | None" = None
    ) -> EpochRecord:
        """Validate the last epoch, copy its weights if they are the best ones, and return its record."""
        start = time.perf_counter()
        network: Network = self.network
        if self.ema:
            network = self.ema.network
            first_batches = islice(chain.from_iterable(self.sampler.epoch(record.epoch)), STATISTICS_BATCHES)
            self.ema.update_batch_norm(self.fabric, self._loader(first_batches, workers=0))
        with out_of_memory_advice("validation", VALIDATION_REMEDIES):
            own = (next_batch(batches) for _ in self._validation_batches())
            measured = validate(self.fabric, network, own, self.loss, len(self.validation.names), self.tiling)
        if not math.isfinite(measured.loss):
            raise InputError(f"epoch {record.epoch}: the validation loss is {measured.loss}; {REMEDIES}")
        record = replace(record, validation=measured, validation_seconds=time.perf_counter() - start)
        self.records = (*self.records[:-1], record)
        # A validation only because the training ends here must not affect a longer training that continues from
        # it.
        if is_regular(record.epoch, self.params.validate_every) and best_record(self.records) is record:
            self.best_weights = copy_weights(network)
        if bar is not None:
            bar.set_postfix(epoch=record.epoch, validation_iou=f"{measured.iou:.3f}")
        return record

    def first_crops(self, count: int) -> list[Sample]:
        """Return the first training crops of the first epoch, as this process feeds them to the network."""
        draws = chain.from_iterable(chain.from_iterable(self.sampler.epoch(1)))
        return [self.data[draw] for draw in islice(draws, count)]

    def _loader(self, batches: Iterable[list[Draw] | list[int]], workers: int) -> DataLoader[Sample]:
        return data_loader(self.data, batches, workers, pin_memory=self.fabric.device.type == "cuda")

    def _batches(self, first: int, last: int) -> Iterator[list[Draw] | list[int]]:
        """Yield the batches of this device in all epochs, each validation after its epoch.

        One stream for the same workers, which read ahead of the training and of the validation alike.
        """
        for epoch in range(first, last + 1):
            yield from chain.from_iterable(self.sampler.epoch(epoch))
            if self._is_validated(epoch, last):
                yield from self._validation_batches()

    def _is_validated(self, epoch: int, last: int) -> bool:
        return epoch == last or is_regular(epoch, self.params.validate_every)

    def _validation_batches(self) -> list[list[int]]:
        micrographs = range(len(self.validation.names))
        return [[index] for index in micrographs[self.fabric.global_rank :: self.fabric.world_size]]


def validate(
    fabric: Fabric,
    network: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    micrographs: int,
    tiling: Tiling,
) -> Validation:
    """Return the validation of a network on `micrographs` micrographs, averaged over them.

    The `batches` of this device have one whole micrograph each. Logits are upsampled to the size of the masks. The
    values are gathered from all devices before they are averaged: the result does not depend on their number.
    """
    values = torch.zeros(micrographs, 3, dtype=torch.float64, device=fabric.device)
    network.eval()
    with torch.inference_mode(), fabric.autocast():
        for number, batch in enumerate(batches):
            index = fabric.global_rank + number * fabric.world_size
            values[index] = _measure(network, fabric.to_device(batch), loss, tiling)
    network.train()
    columns = all_reduce_sum(fabric, values).T.tolist()
    return Validation(*(math.fsum(column) / micrographs for column in columns))


def _measure(network: nn.Module, batch: Batch, loss: Loss, tiling: Tiling) -> torch.Tensor:
    logits = tiled_logits(network, batch.micrographs, tiling)
    logits = upsample(logits, batch.masks.shape[-2:])
    foreground = logits > 0
    union = (foreground | batch.masks).sum()
    intersection = (foreground & batch.masks).sum()
    iou = torch.where(union > 0, intersection / union, 1.0)
    return torch.stack([loss(logits, batch.masks)[0], iou, foreground.float().mean()])


STEPS_BETWEEN_CHECKS = 20
"""Reading a loss leaves a GPU idle until the next step is queued; once in so many steps the cost is negligible."""

REMEDIES = (
    "likely remedies: a lower train.lr, train.max_grad_norm of 1.0 or less, some train.warmup_epochs, or "
    "train.precision bf16 or float32 instead of fp16"
)


class LossMeter:
    """Sums the losses of one epoch, and stops the training soon after one of them is not finite."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._total = 0.0
        self._unchecked: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, step: int, names: tuple[str, ...], losses: Tensor) -> None:
        """Add the losses, (batch,), of the micrographs `names` in a step, the first of the epoch being 1."""
        if self._unchecked and step - self._unchecked[0][0] >= STEPS_BETWEEN_CHECKS:
            self._check()
        self._unchecked.append((step, names, losses))

    def total(self) -> float:
        """Return the sum of all losses so far.

        Raises:
            InputError: a loss is not finite; the message names its step and micrographs.
        """
        self._check()
        return self._total

    def _check(self) -> None:
        if not self._unchecked:
            return
        values = iter(torch.cat([losses for _, _, losses in self._unchecked]).tolist())
        for step, names, losses in self._unchecked:
            batch_losses = [next(values) for _ in range(len(losses))]
            if not all(map(math.isfinite, batch_losses)):
                raise InputError(
                    f"epoch {self.epoch}, step {step}: the loss of {', '.join(names)} is not finite; {REMEDIES}"
                )
            self._total += math.fsum(batch_losses)
        self._unchecked.clear()
