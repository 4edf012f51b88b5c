"""From micrographs and masks to a trained network, without repeating what an earlier training has done."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from lightning_fabric import Fabric

from microseg.common.errors import InputError
from microseg.common.params import TrainParams
from microseg.network.devices import connected, run_on_rank_zero
from microseg.network.environment import current_environment
from microseg.network.initial_weights import initial_weights
from microseg.network.inputs import MaskedMicrographs
from microseg.network.memory import TRAINING_REMEDIES, out_of_memory_advice
from microseg.network.model_card import IMAGENET, read_weights_origin
from microseg.network.sliding_window import WHOLE, Tiling
from microseg.training.checkpoints import CheckpointFolder, exclusive_lock
from microseg.training.fingerprint import fingerprint
from microseg.training.loop import TrainingLoop
from microseg.training.optimization import shared_epochs
from microseg.training.outputs import CROPS_SHOWN, TrainingOutputs, waiting_fraction
from microseg.training.pixel_cache import PixelCache
from microseg.training.records import EpochRecord, TrainingState, should_stop

WAITING_LIMIT = 0.05
"""The fraction of the time that a device may wait for batches without a warning."""

log = logging.getLogger(__name__)


def train(
    fabric: Fabric,
    training: MaskedMicrographs,
    validation: MaskedMicrographs,
    params: TrainParams,
    seed: int,
    checkpoints: Path,
    pixels: Path,
    tiling: Tiling = WHOLE,
    encoder_weights: Path | None = None,
    outputs: TrainingOutputs | None = None,
) -> TrainingState:
    """Train a network, or resume an earlier training that was the same up to some epoch; return the last state.

    Checkpoints and the pixel cache of all trainings are in the folders `checkpoints` and `pixels`. Validation
    micrographs are predicted in tiles as `tiling` says, as later in the prediction. `encoder_weights` is the
    output of the stage of that name; without it the initial weights are random. Curves and the first crops go to
    `outputs`.

    Raises:
        InputError: there are too few micrographs, a file is broken, the loss is not finite, or memory is short.
    """
    check_subsets(training, validation)
    weights = initial_weights(encoder_weights, params) if encoder_weights is not None else {}
    pretraining = read_weights_origin(encoder_weights).pretraining if encoder_weights else IMAGENET
    with connected(fabric), out_of_memory_advice("training", TRAINING_REMEDIES), ExitStack() as locks:

        def acquire_checkpoints() -> CheckpointFolder:
            used = current_environment(fabric)
            device = f"{used.device}, {used.precision}"
            name = fingerprint(training, validation, params, seed, device, tiling, weights, pretraining)
            locks.enter_context(exclusive_lock(checkpoints / name))
            shared = partial(shared_epochs, params.schedule, decay_fraction=params.decay_fraction)
            return CheckpointFolder(checkpoints / name, params.checkpoint_epochs, shared)

        # Only the first process has the folder: it reads and writes checkpoints for all.
        folder = run_on_rank_zero(fabric, acquire_checkpoints)
        # With the digests of all files, for which only the first process has read them.
        cache = PixelCache(fabric.broadcast(training), pixels, params.downsample)
        loop = TrainingLoop(fabric, training, validation, params, seed, cache, tiling, weights, pretraining)
        if outputs and fabric.is_global_zero:
            outputs.write_crops(loop.first_crops(CROPS_SHOWN))
        resume(loop, folder)
        for record in loop.epochs(params.epochs, params.early_stopping_patience):
            is_last = should_stop(loop.records, params.epochs, params.early_stopping_patience)
            if folder and (is_last or folder.should_save(record.epoch, params.epochs)):
                folder.save(loop.state(), params.epochs, required=is_last)
            if record.validation and outputs and fabric.is_global_zero:
                with suppress(OSError):  # such as a full disk: they are written again at the end
                    outputs.write_curves(loop.records)
        final = loop.state()
    if fabric.is_global_zero:
        warn_if_empty(final, params.checkpoint)
        warn_if_waiting(final.records)
    return final


def check_subsets(training: MaskedMicrographs, validation: MaskedMicrographs) -> None:
    """Raise InputError if there are no micrographs to train or to validate on."""
    for subset, micrographs in (("training", training), ("validation", validation)):
        if not micrographs.names:
            raise InputError(f"the split has no {subset} micrographs; change the parameters of the section split")


def resume(loop: TrainingLoop, folder: CheckpointFolder | None) -> None:
    """Restore in all processes the latest state in `folder`, which the first one has."""
    latest = folder.latest(loop.params.epochs, loop.params.early_stopping_patience) if folder else None
    state = loop.fabric.broadcast(latest)
    if state is not None:
        loop.restore(state)
        log.info("resuming from the checkpoint of epoch %d", state.epoch)


def warn_if_waiting(records: Sequence[EpochRecord]) -> None:
    """Log a warning if data loading is too slow for the device."""
    fraction = waiting_fraction(records)
    if fraction > WAITING_LIMIT:
        log.warning(
            "data loading is the bottleneck: the device waited for %.0f %% of the time; likely remedy: a higher "
            "train.num_workers",
            100 * fraction,
        )


def warn_if_empty(final: TrainingState, checkpoint: str) -> None:
    """Log a warning if the network that becomes the model predicts no foreground."""
    _, record, validation = final.model(checkpoint)
    if validation.predicted_foreground == 0:
        log.warning(
            "the network of epoch %d predicts no foreground on any validation micrograph; likely remedies: more "
            "train.epochs, another train.lr, train.loss dice_bce, a higher train.foreground_oversampling",
            record.epoch,
        )
