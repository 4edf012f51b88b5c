"""From micrographs and masks to a trained network, without repeating what an earlier training has done."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lightning_fabric import Fabric

from microseg.common.errors import InputError
from microseg.common.params import TrainParams
from microseg.network.devices import connected, describe
from microseg.network.inputs import MaskedMicrographs
from microseg.network.memory import Workload, explained, warn_if_short
from microseg.training.checkpoint_space import exclusive
from microseg.training.checkpoints import CheckpointFolder, TrainingState
from microseg.training.fingerprint import fingerprint
from microseg.training.history import EpochRecord, waiting_share
from microseg.training.loop import TrainingLoop
from microseg.training.schedules import shared_epochs

WAITING_LIMIT = 0.05

log = logging.getLogger(__name__)


def train(
    fabric: Fabric,
    training: MaskedMicrographs,
    validation: MaskedMicrographs,
    params: TrainParams,
    seed: int,
    checkpoints: Path,
) -> TrainingState:
    """Train a U-Net, or take up an earlier training that was the same up to some epoch, and return its last state.

    States are kept in the folder `checkpoints`, which all trainings share.

    Raises:
        InputError: there is nothing to train or validate with, a file cannot be used, or the loss is not finite.
    """
    for part, files in (("training", training), ("validation", validation)):
        if not files.names:
            raise InputError(f"the split has no {part} micrographs; change the parameters of the section split")
    workload = workload_of(fabric, training, params)
    with connected(fabric), explained(workload), ExitStack() as held:
        folder = None
        if fabric.is_global_zero:
            warn_if_short(workload, fabric.device)
            device = f"{fabric.world_size} x {describe(fabric.device)}, {fabric.strategy.precision.precision}"
            name = fingerprint(training, validation, params, seed, device)
            held.enter_context(exclusive(checkpoints / name))
            folder = CheckpointFolder(checkpoints / name, params.keep_epochs, shared_epochs_of(params))
        loop = TrainingLoop(fabric, training, validation, params, seed)
        state = fabric.broadcast(folder.latest(params.epochs, params.early_stopping) if folder else None)
        if state is not None:
            loop.restore(state)
            log.info("the state after epoch %d was already there", state.epoch)
        for _ in loop.epochs(params.epochs, params.early_stopping):
            if folder:
                folder.save(loop.state(), params.epochs)
    final = loop.state()
    if fabric.is_global_zero:
        warn_if_empty(final.model(params.keep)[1])
        warn_if_waiting(final.records)
    return final


def shared_epochs_of(params: TrainParams) -> Callable[[int], int]:
    """Return how many of its first epochs a training of so many epochs shares with longer ones."""
    return lambda epochs: shared_epochs(params.schedule, epochs, params.fall)


def workload_of(fabric: Fabric, training: MaskedMicrographs, params: TrainParams) -> Workload:
    """Return what the memory of a training depends on; the first micrograph stands for all."""
    height, width = training.read(0)[0].shape if params.crop is None else (params.crop, params.crop)
    return Workload(
        base_channels=params.base_channels,
        normalised=params.normalisation == "batch",
        batch_size=params.batch_size,
        height=height,
        width=width,
        whole=params.crop is None,
        bytes_per_number=4 if fabric.strategy.precision.precision == "32-true" else 2,
        activation_checkpointing=params.activation_checkpointing,
    )


def warn_if_waiting(records: Sequence[EpochRecord]) -> None:
    """Log what to do where reading is too slow for the device."""
    share = waiting_share(records)
    if share > WAITING_LIMIT:
        log.warning("%.0f %% of the time no crops were ready; likely remedy: more train.workers", 100 * share)


def warn_if_empty(record: EpochRecord) -> None:
    """Log what to do where the network of this epoch takes no pixel at all for foreground."""
    if record.predicted_foreground == 0:
        log.warning(
            "the network of epoch %d predicts no foreground on any validation micrograph; likely remedies: more "
            "train.epochs, another train.lr, train.loss dice_bce, a higher train.foreground_fraction",
            record.epoch,
        )
