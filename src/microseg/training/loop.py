"""The training loop: epoch after epoch, step after step, batch after batch."""

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
from microseg.network.devices import is_idle, precision_of, resolve_workers, sum_over_devices
from microseg.network.footprint import Footprint
from microseg.network.inputs import MaskedMicrographs
from microseg.network.losses import LOSSES
from microseg.network.memory import explained
from microseg.network.networks import Network
from microseg.network.normalisation import left_out
from microseg.network.tiles import WHOLE, Tiling
from microseg.training.beginning import FACTOR, laid_out, new_network, new_optimizer
from microseg.training.datasets import Batch, Sample, TrainingCrops, WholeMicrographs, loader, next_batch
from microseg.training.history import EpochRecord, best_record, going_on, is_over, is_regular
from microseg.training.pixels import PixelStore
from microseg.training.running_loss import REMEDIES, RunningLoss
from microseg.training.sampling import Sampler
from microseg.training.schedules import Schedule
from microseg.training.state import TrainingState, Weights, copy_weights
from microseg.training.validation import validate, validation_workload
from microseg.training.weight_average import WeightAverage, statistics_batches


class TrainingLoop:
    """A training in progress: `epochs` trains on, `state` and `restore` take it out of and into this process."""

    def __init__(
        self,
        fabric: Fabric,
        training: MaskedMicrographs,
        validation: MaskedMicrographs,
        params: TrainParams,
        seed: int,
        pixels: PixelStore,
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
            repeats=params.crops_per_micrograph if params.crop is not None else 1,
            batch_size=params.batch_size,
            accumulate=params.accumulate_batches,
            world_size=fabric.world_size,
            rank=fabric.global_rank,
        )
        self.schedule = Schedule(
            params.schedule, params.lr, params.epochs, self.sampler.steps, params.warmup_epochs, params.fall
        )
        self.network = laid_out(new_network(params, seed, first_weights or {}), params, fabric)
        self.average = WeightAverage(self.network, params.weight_average) if params.weight_average else None
        precision = fabric.strategy.precision.precision
        self.validation_workload = validation_workload(validation, params, precision, tiling.tile, footprint)
        self.workers = resolve_workers(params.workers, fabric.device, params.devices)
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
        self.records = state.records if done else going_on(state.records, self.params.validate_every)
        self.best_weights = state.best_weights
        self.network.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        self.fabric.strategy.precision.load_state_dict(state.scaler)
        if self.average:
            self.average.network.load_state_dict(state.average)

    def epochs(self, last: int, early_stopping: int | None) -> Iterator[EpochRecord]:
        """Train until epoch `last` or an early stop, yielding the record of each epoch at its end."""
        watched = self._validation_batches()
        if is_over(self.records, last, early_stopping):
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
            while not is_over(self.records, last, early_stopping):
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
            self.params.crop,
            self.params.foreground_fraction,
            self.params.grey_values,
            self.params.augment,
        )

    def _validation_batches(self) -> DataLoader[Sample]:
        whole = WholeMicrographs(self.validation, self.params.grey_values, self.params.scale)
        own = [[index] for index in range(len(whole))[self.fabric.global_rank :: self.fabric.world_size]]
        return loader(whole, own, self.workers, pin_memory=self.fabric.device.type == "cuda")

    def _run_epoch(self, epoch: int, batches: Iterator[Batch], bar: "tqdm[object]") -> EpochRecord:
        """Train for one epoch."""
        begin, waiting_seconds = time.perf_counter(), 0.0
        running = RunningLoss(epoch)
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
            train_loss=sum_over_devices(self.fabric, total).item() / self.sampler.crops,
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
        counted = left_out(self.network) if idle else nullcontext()
        with self.fabric.no_backward_sync(self.module, enabled=not exchange_gradients), counted:
            losses = self.loss(self.module(batch.micrographs), batch.masks)
            # The devices' gradients are averaged, while the weights of a step sum to 1 over all of them.
            self.fabric.backward((losses * batch.weights).sum() * self.fabric.world_size)
        return torch.where(batch.weights > 0, losses.detach(), 0.0)

    def _update(self, step: int) -> None:
        """Change the weights by the gradients added up, and forget those."""
        if self.params.gradient_clip is not None:
            # An overflow of fp16 is found here too; the loss scale then skips this change of the weights.
            self.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.params.gradient_clip, error_if_nonfinite=False
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(step) * group[FACTOR]
        self.optimizer.step()
        if self.average:
            self.average.update(self.network, step)
        self.optimizer.zero_grad()
