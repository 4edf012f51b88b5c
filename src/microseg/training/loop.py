"""The training loop: epoch after epoch, step after step, batch after batch."""

import math
import time
from collections.abc import Iterator
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from microseg.common.errors import InputError
from microseg.common.params import TrainParams
from microseg.common.progress import progress
from microseg.common.randomness import generator
from microseg.network.devices import sum_over_devices
from microseg.network.inputs import MaskedMicrographs
from microseg.network.losses import LOSSES
from microseg.network.unet import UNet
from microseg.training.checkpoints import TrainingState, Weights
from microseg.training.datasets import Batch, Sample, TrainingCrops, WholeMicrographs, loader
from microseg.training.history import EpochRecord, best_record, is_over
from microseg.training.sampling import Sampler
from microseg.training.schedules import Schedule
from microseg.training.validation import validate

REMEDIES = (
    "likely remedies: a lower train.lr, train.gradient_clip of 1.0 or less, some train.warmup_epochs, or "
    "train.precision bf16 or float32 instead of fp16"
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
    ) -> None:
        self.fabric = fabric
        self.params = params
        self.training = training
        self.validation = validation
        self.seed = seed
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
        self.network = new_network(params, seed)
        # Fused Adam does not undo the loss scale of fp16 before the gradients are clipped.
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=params.lr,
            weight_decay=params.weight_decay,
            fused=params.precision != "fp16",
        )
        module = cast(nn.Module, torch.compile(self.network)) if params.compile else self.network
        self.module, self.optimizer = fabric.setup(module, optimizer)
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
        )

    def restore(self, state: TrainingState) -> None:
        """Go back or forth to the end of the last epoch of `state`."""
        self.records = state.records
        self.best_weights = state.best_weights
        self.network.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        self.fabric.strategy.precision.load_state_dict(state.scaler)

    def epochs(self, last: int, early_stopping: int | None) -> Iterator[EpochRecord]:
        """Train until epoch `last` or an early stop, yielding the record of each epoch at its end."""
        if is_over(self.records, last, early_stopping):
            return
        first = len(self.records) + 1
        batches = iter(self._training_batches(first, last))
        watched = self._validation_batches()
        steps = (last - first + 1) * self.sampler.steps
        nothing: list[object] = []
        with progress(nothing, "training", total=steps, unit="step", shown=self.fabric.is_global_zero) as bar:
            while not is_over(self.records, last, early_stopping):
                record = self._run_epoch(len(self.records) + 1, batches, watched, bar)
                self.records = (*self.records, record)
                if best_record(self.records) is record:
                    self.best_weights = copy_weights(self.network)
                bar.set_postfix(epoch=record.epoch, validation_iou=f"{record.validation_iou:.3f}")
                yield record

    def _training_batches(self, first: int, last: int) -> DataLoader[Sample]:
        crops = TrainingCrops(
            self.training,
            self.seed,
            self.params.crop,
            self.params.foreground_fraction,
            self.params.grey_values,
            self.params.augment,
        )
        # One stream for all epochs: while an epoch is being validated the next one is already read.
        batches = self.sampler.batches(first, last)
        return loader(crops, batches, self.params.workers, pin_memory=self.fabric.device.type == "cuda")

    def _validation_batches(self) -> DataLoader[Sample]:
        whole = WholeMicrographs(self.validation, self.params.grey_values)
        own = [[index] for index in range(len(whole))[self.fabric.global_rank :: self.fabric.world_size]]
        return loader(whole, own, self.params.workers, pin_memory=self.fabric.device.type == "cuda")

    def _run_epoch(
        self, epoch: int, batches: Iterator[Batch], watched: DataLoader[Sample], bar: "tqdm[object]"
    ) -> EpochRecord:
        start = time.perf_counter()
        train_loss, waiting_seconds = self._train_epoch(epoch, batches, bar)
        measured = validate(self.fabric, self.network, watched, self.loss, len(self.validation.names))
        if not math.isfinite(measured.loss):
            raise InputError(f"epoch {epoch}: the validation loss is {measured.loss}; {REMEDIES}")
        return EpochRecord(
            epoch=epoch,
            train_loss=train_loss,
            validation_loss=measured.loss,
            validation_iou=measured.iou,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - start,
            waiting_seconds=waiting_seconds,
            predicted_foreground=measured.predicted_foreground,
        )

    def _train_epoch(self, epoch: int, batches: Iterator[Batch], bar: "tqdm[object]") -> tuple[float, float]:
        """Return the mean loss of the epoch's crops and the seconds spent waiting for them."""
        losses, waiting_seconds = 0.0, 0.0
        for number, step in enumerate(self.sampler.epoch(epoch)):
            for position in range(len(step)):
                start = time.perf_counter()
                batch = self.fabric.to_device(next_batch(batches))
                waiting_seconds += time.perf_counter() - start
                last = position == len(step) - 1
                losses += self._backward(batch, exchange_gradients=last, where=f"epoch {epoch}, step {number + 1}")
            self._update((epoch - 1) * self.sampler.steps + number)
            bar.update()
        total = torch.tensor(losses, dtype=torch.float64, device=self.fabric.device)
        return sum_over_devices(self.fabric, total).item() / self.sampler.crops, waiting_seconds

    def _backward(self, batch: Batch, exchange_gradients: bool, where: str) -> float:
        """Add the gradients of a batch and return the sum of the losses of its crops."""
        with self.fabric.no_backward_sync(self.module, enabled=not exchange_gradients):
            losses = self.loss(self.module(batch.micrographs), batch.masks)
            # The devices' gradients are averaged, while the weights of a step sum to 1 over all of them.
            self.fabric.backward((losses * batch.weights).sum() * self.fabric.world_size)
        values = torch.where(batch.weights > 0, losses.detach(), 0.0).tolist()
        if not all(map(math.isfinite, values)):
            raise InputError(f"{where}: the loss of {', '.join(batch.names)} is not finite; {REMEDIES}")
        return math.fsum(values)

    def _update(self, step: int) -> None:
        """Change the weights by the gradients added up, and forget those."""
        if self.params.gradient_clip is not None:
            # An overflow of fp16 is found here too; the loss scale then skips this change of the weights.
            self.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.params.gradient_clip, error_if_nonfinite=False
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(step)
        self.optimizer.step()
        self.optimizer.zero_grad()


def new_network(params: TrainParams, seed: int) -> UNet:
    """Return the untrained network, with the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, "weights").integers(2**63)))
        return UNet(params.base_channels, params.activation_checkpointing, params.normalisation)


def copy_weights(network: UNet) -> Weights:
    """Return a copy of the weights in main memory, in the usual order of channels, rows and columns."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }


def next_batch(batches: Iterator[Batch]) -> Batch:
    """Return the next batch; what a worker process raised as InputError is raised here in its own words."""
    try:
        return next(batches)
    except InputError as error:
        sentence = str(error).strip().rpartition("InputError: ")[2]
        raise InputError(sentence) from None
