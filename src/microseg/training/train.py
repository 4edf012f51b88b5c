"""From micrographs and masks to a trained network, without repeating what an earlier training has done."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lightning_fabric import Fabric

from microseg.common.errors import InputError
from microseg.common.params import PLAIN_ENCODER, TrainParams
from microseg.network.devices import connected, run_on_rank_zero
from microseg.network.environment import current_environment
from microseg.network.footprint import footprint_of
from microseg.network.initial_weights import first_weights
from microseg.network.inputs import MaskedMicrographs, downsampled_size
from microseg.network.memory import TrainingWorkload, bytes_per_number, explained, warn_if_short
from microseg.network.sliding_window import WHOLE, Tiling
from microseg.training.checkpoints import CheckpointFolder, exclusive_lock
from microseg.training.fingerprint import fingerprint
from microseg.training.loop import TrainingLoop
from microseg.training.optimization import new_network, shared_epochs
from microseg.training.pixel_cache import PixelCache
from microseg.training.records import EpochRecord, TrainingState, should_stop, waiting_share

WAITING_LIMIT = 0.05

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
) -> TrainingState:
    """Train a network, or take up an earlier training that was the same up to some epoch; return its last state.

    States are kept in the folder `checkpoints`, pixels that are at hand without decoding in the folder `pixels`;
    all trainings share both. The network sees validation micrographs in the pieces that `tiling` says, as it will
    once it is trained. It starts from what the stage encoder_weights wrote into the folder `encoder_weights`; None
    for random weights.

    Raises:
        InputError: there is nothing to train or validate with, a file cannot be used, or the loss is not finite.
    """
    check_subsets(training, validation)
    first = first_weights(encoder_weights, params) if encoder_weights is not None else {}
    workload = workload_of(fabric, training, params)
    used = current_environment(fabric)
    with connected(fabric), explained(workload), ExitStack() as held:

        def claim() -> CheckpointFolder:
            warn_if_short(workload, fabric.device)
            device = f"{used.device}, {used.precision}"
            name = fingerprint(training, validation, params, seed, device, tiling, first)
            held.enter_context(exclusive_lock(checkpoints / name))
            return CheckpointFolder(checkpoints / name, params.checkpoint_epochs, shared_epochs_of(params))

        folder = run_on_rank_zero(fabric, claim)
        store = PixelCache(training, pixels, params.downsample)
        loop = TrainingLoop(fabric, training, validation, params, seed, store, tiling, first, workload.footprint)
        if fabric.is_global_zero:
            warn_if_short(loop.validation_workload, fabric.device)
        final = _go_on(loop, folder)
    if fabric.is_global_zero:
        warn_if_empty(final, params.checkpoint)
        warn_if_waiting(final.records)
    return final


def check_subsets(training: MaskedMicrographs, validation: MaskedMicrographs) -> None:
    """Raise InputError where there is nothing to train or to validate with."""
    for part, files in (("training", training), ("validation", validation)):
        if not files.names:
            raise InputError(f"the split has no {part} micrographs; change the parameters of the section split")


def _go_on(loop: TrainingLoop, folder: CheckpointFolder | None) -> TrainingState:
    """Go on from the latest state in `folder`, keep states there on the way, and return the last one.

    Only one of several processes has a folder; the others get the state to begin with from it.
    """
    epochs, patience = loop.params.epochs, loop.params.early_stopping_patience
    state = loop.fabric.broadcast(folder.latest(epochs, patience) if folder else None)
    if state is not None:
        loop.restore(state)
        log.info("the state after epoch %d was already there", state.epoch)
    for record in loop.epochs(epochs, patience):
        over = should_stop(loop.records, epochs, patience)
        if folder and (over or folder.is_due(record.epoch, epochs)):
            folder.save(loop.state(), epochs)
    return loop.state()


def shared_epochs_of(params: TrainParams) -> Callable[[int], int]:
    """Return how many of its first epochs a training of so many epochs shares with longer ones."""
    return lambda epochs: shared_epochs(params.schedule, epochs, params.decay_fraction)


def workload_of(fabric: Fabric, training: MaskedMicrographs, params: TrainParams) -> TrainingWorkload:
    """Return what the memory of a training depends on; the first micrograph stands for all."""
    height, width = params.crop_size, params.crop_size
    if height is None or width is None:
        height, width = downsampled_size(training.read(0)[0].shape, params.downsample)
    is_plain = params.encoder == PLAIN_ENCODER
    return TrainingWorkload(
        base_channels=params.base_channels,
        footprint=None if is_plain else footprint_of(new_network(params, 0, {}), params.batch_size),
        normalised=params.norm_layer == "batch",
        batch_size=params.batch_size,
        height=height,
        width=width,
        whole=params.crop_size is None,
        bytes_per_number=bytes_per_number(fabric.strategy.precision.precision),
        activation_checkpointing=params.activation_checkpointing,
    )


def warn_if_waiting(records: Sequence[EpochRecord]) -> None:
    """Log what to do where reading is too slow for the device."""
    share = waiting_share(records)
    if share > WAITING_LIMIT:
        log.warning("%.0f %% of the time no crops were ready; likely remedy: more train.num_workers", 100 * share)


def warn_if_empty(final: TrainingState, keep: str) -> None:
    """Log what to do where the network that becomes the model takes no pixel at all for foreground."""
    _, kept, measured = final.model(keep)
    if measured.predicted_foreground == 0:
        log.warning(
            "the network of epoch %d predicts no foreground on any validation micrograph; likely remedies: more "
            "train.epochs, another train.lr, train.loss dice_bce, a higher train.foreground_oversampling",
            kept.epoch,
        )
