"""The training loop: epoch after epoch, step after step, batch after batch, and the validation in between."""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
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
from microseg.micrographs.images import image_size
from microseg.network.batch_norm import excluded_from_sync
from microseg.network.devices import all_reduce_sum, is_idle, resolve_workers
from microseg.network.environment import precision_of
from microseg.network.footprint import Footprint
from microseg.network.inputs import MaskedMicrographs, upsample
from microseg.network.losses import LOSSES, Loss
from microseg.network.memory import InferenceWorkload, bytes_per_number, explained
from microseg.network.networks import Network
from microseg.network.sliding_window import WHOLE, Tiling, tiled_logits
from microseg.training.data import Batch, Sample, Sampler, TrainingCrops, WholeMicrographs, loader, next_batch
from microseg.training.optimization import (
    EMA,
    LR_MULTIPLIER,
    Schedule,
    new_network,
    new_optimizer,
    statistics_batches,
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
    """A training in progress: `epochs` trains on, `state` and `restore` take it out of and into this process."""

    def __init__(
        self,
        fabric: Fabric,
        training: MaskedMicrographs,
        validation: MaskedMicrographs,
        params: TrainParams,
        seed: int,
        pixels: PixelCache,
        tiling: Tiling = WHOLE,
        first_weights: Weights | None = None,
        footprint: Footprint | None = None,
    ) -> None:
        self.fabric = fabric
        self.params = params
        self.pixels = pixels
        self.training = training
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
        self.network = to_memory_format(new_network(params, seed, first_weights or {}), params, fabric)
        self.average = EMA(self.network, params.ema_decay) if params.ema_decay else None
        precision = fabric.strategy.precision.precision
        self.validation_workload = validation_workload(validation, params, precision, tiling.tile_size, footprint)
        self.workers = resolve_workers(params.num_workers, fabric.device, params.devices)
        # Fused Adam does not undo the loss scale of fp16 before the gradients are clipped.
        optimizer = new_optimizer(self.network, params, fused=precision_of(fabric) != "fp16")
        module = cast(nn.Module, torch.compile(self.network)) if params.compile else self.network
        self.module, self.optimizer = fabric.setup(module, optimizer)
        if self.average:
            fabric.to_device(self.average.network)
        self.records: tuple[EpochRecord, ...] = ()
        self.best_weights: Weights = {}

    def state(self) -> TrainingState:
        """Return all that is needed to go on after the last complete epoch, to be used before training goes on.

        The weights are copies; Adam's averages, twice their size, are not.
        """
        return TrainingState(
            records=self.records,
            weights=copy_weights(self.network),
            best_weights=self.best_weights,
            optimizer=self.optimizer.state_dict(),
            scaler=self.fabric.strategy.precision.state_dict(),
            average=copy_weights(self.average.network) if self.average else {},
        )

    def restore(self, state: TrainingState) -> None:
        """Go back or forth to the end of the last epoch of `state`."""
        done = state.epoch >= self.params.epochs
        self.records = state.records if done else records_to_resume(state.records, self.params.validate_every)
        self.best_weights = state.best_weights
        self.network.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        self.fabric.strategy.precision.load_state_dict(state.scaler)
        if self.average:
            self.average.network.load_state_dict(state.average)

    def epochs(self, last: int, patience: int | None) -> Iterator[EpochRecord]:
        """Train until epoch `last` or an early stop, yielding the record of each epoch at its end."""
        watched = self._validation_batches()
        if should_stop(self.records, last, patience):
            if self.records[-1].validation is None:  # an epoch that a longer training went through
                yield self._with_validation(self.records[-1], watched)
            return
        first = len(self.records) + 1
        batches = iter(self._training_batches(first, last))
        # Reading processes begin as copies of this one: begun after a step, they would keep a copy of its memory.
        iter(watched)
        steps = (last - first + 1) * self.sampler.steps
        nothing: list[object] = []
        with progress(nothing, "training", total=steps, unit="step", shown=self.fabric.is_global_zero) as bar:
            while not should_stop(self.records, last, patience):
                record = self._run_epoch(len(self.records) + 1, batches, bar)
                self.records = (*self.records, record)
                if record.epoch == last or is_regular(record.epoch, self.params.validate_every):
                    record = self._with_validation(record, watched, bar)
                yield record

    def _with_validation(
        self, record: EpochRecord, watched: DataLoader[Sample], bar: "tqdm[object] | None" = None
    ) -> EpochRecord:
        """Validate the last epoch, keep its weights if it is the best one, and return its record."""
        start = time.perf_counter()
        network: Network = self.network
        micrographs = len(self.validation.names)
        if self.average:
            network = self.average.network
            self.average.measure_statistics(self.fabric, self._statistics_batches(record.epoch))
        with explained(self.validation_workload):
            measured = validate(self.fabric, network, watched, self.loss, micrographs, self.tiling)
        if not math.isfinite(measured.loss):
            raise InputError(f"epoch {record.epoch}: the validation loss is {measured.loss}; {REMEDIES}")
        record = replace(record, validation=measured, validation_seconds=time.perf_counter() - start)
        self.records = (*self.records[:-1], record)
        # A longer training, which goes on from here, knows nothing of a validation only made because of the end.
        if is_regular(record.epoch, self.params.validate_every) and best_record(self.records) is record:
            self.best_weights = copy_weights(network)
        if bar is not None:
            bar.set_postfix(epoch=record.epoch, validation_iou=f"{measured.iou:.3f}")
        return record

    def _training_batches(self, first: int, last: int) -> DataLoader[Sample]:
        # One stream for all epochs: while an epoch is being validated the next one is already read.
        batches = self.sampler.batches(first, last)
        return loader(self._crops(), batches, self.workers, pin_memory=self.fabric.device.type == "cuda")

    def _statistics_batches(self, epoch: int) -> DataLoader[Sample]:
        return loader(self._crops(), statistics_batches(self.sampler.epoch(epoch)), workers=0, pin_memory=False)

    def _crops(self) -> TrainingCrops:
        return TrainingCrops(
            self.pixels,
            self.seed,
            self.params.crop_size,
            self.params.foreground_oversampling,
            self.params.input_normalization,
            self.params.augment,
        )

    def _validation_batches(self) -> DataLoader[Sample]:
        whole = WholeMicrographs(self.validation, self.params.input_normalization, self.params.downsample)
        own = [[index] for index in range(len(whole))[self.fabric.global_rank :: self.fabric.world_size]]
        return loader(whole, own, self.workers, pin_memory=self.fabric.device.type == "cuda")

    def _run_epoch(self, epoch: int, batches: Iterator[Batch], bar: "tqdm[object]") -> EpochRecord:
        """Train for one epoch."""
        begin, waiting_seconds = time.perf_counter(), 0.0
        running = LossMeter(epoch)
        for number, step in enumerate(self.sampler.epoch(epoch)):
            for position in range(len(step)):
                start = time.perf_counter()
                batch = next_batch(batches)
                # A GPU that still works off what was queued before has not waited.
                if is_idle(self.fabric.device):
                    waiting_seconds += time.perf_counter() - start
                batch = self.fabric.to_device(batch)
                self._seed_network(epoch, number, position)
                losses = self._backward(batch, exchange_gradients=position == len(step) - 1)
                running.add(number + 1, batch.names, losses)
            self._update((epoch - 1) * self.sampler.steps + number)
            bar.update()
        total = torch.tensor(running.total(), dtype=torch.float64, device=self.fabric.device)
        return EpochRecord(
            epoch=epoch,
            train_loss=all_reduce_sum(self.fabric, total).item() / self.sampler.crops,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - begin,
            waiting_seconds=waiting_seconds,
        )

    def _seed_network(self, epoch: int, step: int, position: int) -> None:
        """Let what a network leaves out at random (dropout, stochastic depth) follow from the batch alone."""
        draws = generator(self.seed, "network", epoch, step, position, self.fabric.global_rank)
        torch.manual_seed(int(draws.integers(2**63)))

    def _backward(self, batch: Batch, exchange_gradients: bool) -> Tensor:
        """Add the gradients of a batch and return the losses of its crops, 0 for those without weight."""
        idle = self.fabric.world_size > 1 and not batch.weights.any()
        counted = excluded_from_sync(self.network) if idle else nullcontext()
        with self.fabric.no_backward_sync(self.module, enabled=not exchange_gradients), counted:
            losses = self.loss(self.module(batch.micrographs), batch.masks)
            # The devices' gradients are averaged, while the weights of a step sum to 1 over all of them.
            self.fabric.backward((losses * batch.weights).sum() * self.fabric.world_size)
        return torch.where(batch.weights > 0, losses.detach(), 0.0)

    def _update(self, step: int) -> None:
        """Change the weights by the gradients added up, and forget those."""
        if self.params.max_grad_norm is not None:
            # An overflow of fp16 is found here too; the loss scale then skips this change of the weights.
            self.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.params.max_grad_norm, error_if_nonfinite=False
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(step) * group[LR_MULTIPLIER]
        self.optimizer.step()
        if self.average:
            self.average.update(self.network, step)
        self.optimizer.zero_grad()


def validate(
    fabric: Fabric,
    network: nn.Module,
    batches: DataLoader[Sample],
    loss: Loss,
    micrographs: int,
    tiling: Tiling,
) -> Validation:
    """Measure the network on all `micrographs`; `batches` are this device's, of one whole micrograph each.

    The network sees them in the pieces that `tiling` says. Its logits are enlarged to the size of the masks where
    it sees the micrographs smaller than they are. The values of single micrographs are collected from all devices
    before they are averaged, so that the result does not depend on the number of devices.
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
    common = (foreground & batch.masks).sum()
    iou = torch.where(union > 0, common / union, 1.0)
    return torch.stack([loss(logits, batch.masks)[0], iou, foreground.float().mean()])


def validation_workload(
    validation: MaskedMicrographs,
    params: TrainParams,
    precision: str,
    tile: int | None,
    footprint: Footprint | None = None,
) -> InferenceWorkload:
    """Return what the memory of a validation depends on: the largest micrograph, and the tiles it is cut into."""
    sizes = (image_size(validation.images / name) for name in validation.names)
    height, width = max(sizes, key=math.prod)
    return InferenceWorkload(
        base_channels=params.base_channels,
        footprint=footprint,
        height=height,
        width=width,
        bytes_per_number=bytes_per_number(precision),
        tile_size=tile,
        validating=True,
        scale=params.downsample,
    )


STEPS_BETWEEN_LOOKS = 20
"""Looking at a number lets a GPU stand still until the next step is queued; once in so many steps is no loss."""

REMEDIES = (
    "likely remedies: a lower train.lr, train.max_grad_norm of 1.0 or less, some train.warmup_epochs, or "
    "train.precision bf16 or float32 instead of fp16"
)


class LossMeter:
    """Adds up the losses of one epoch, and stops the training soon after one of them is not finite."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._total = 0.0
        self._unseen: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, step: int, names: tuple[str, ...], losses: Tensor) -> None:
        """Take the losses, (batch,), of the micrographs `names` in a step, the first of the epoch being 1."""
        if self._unseen and step - self._unseen[0][0] >= STEPS_BETWEEN_LOOKS:
            self._look()
        self._unseen.append((step, names, losses))

    def total(self) -> float:
        """Return the sum of all losses so far.

        Raises:
            InputError: one of them was not finite; the message names the step and its micrographs.
        """
        self._look()
        return self._total

    def _look(self) -> None:
        if not self._unseen:
            return
        values = iter(torch.cat([losses for _, _, losses in self._unseen]).tolist())
        for step, names, losses in self._unseen:
            own = [next(values) for _ in range(len(losses))]
            if not all(map(math.isfinite, own)):
                raise InputError(
                    f"epoch {self.epoch}, step {step}: the loss of {', '.join(names)} is not finite; {REMEDIES}"
                )
            self._total += math.fsum(own)
        self._unseen.clear()
