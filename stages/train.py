"""Train the network, or resume an earlier training that was the same up to some epoch."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from microseg.common.command import run_stage
from microseg.common.files import output_folder, write_json
from microseg.common.params import Params
from microseg.micrographs.metadata import common_pixel_size, corrected_images
from microseg.micrographs.pixel_size import PixelSize
from microseg.splits import TRAIN, VALIDATION, evaluated_split, images_of, read_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the model with its card, the curves, a picture of the first crops, and the metrics."""
    # Importing torch takes seconds, which --help and wrong arguments need not wait for.
    from microseg.network.devices import start
    from microseg.network.environment import current_environment
    from microseg.network.initial_weights import seen_micrographs
    from microseg.network.inputs import MaskedMicrographs
    from microseg.network.model_card import read_weights_origin
    from microseg.network.model_io import describe, write_model
    from microseg.network.sliding_window import Tiling
    from microseg.training.checkpoints import checkpoint_root
    from microseg.training.export import calibrate, write_image_statistics
    from microseg.training.outputs import TrainingOutputs, training_metrics, training_report
    from microseg.training.pixel_cache import pixel_cache_root
    from microseg.training.train import train

    rows = read_split(arguments.split)
    training, validation = (
        MaskedMicrographs(arguments.images, arguments.masks, tuple(sorted(images_of(rows, split))))
        for split in (TRAIN, VALIDATION)
    )
    drawn = replace(training, names=weighted(training.names, arguments.metadata, params.train.corrected_weight))
    tested = evaluated_split(rows)
    seen = seen_micrographs(arguments.encoder_weights)
    seen.refuse(arguments.images, images_of(rows, tested), tested)
    scale = pixel_size(params.train.pixel_size_um, arguments.metadata, training.names)
    fabric = start(params.train.accelerator, params.train.precision, params.train.devices, params.train.num_nodes)
    tiling = Tiling(params.predict.tile_size, params.predict.tile_overlap)
    outputs = TrainingOutputs(arguments.history, arguments.validation, arguments.crops)
    state = train(
        fabric,
        drawn,
        validation,
        params.train,
        params.train.seed,
        checkpoint_root(),
        pixel_cache_root(),
        tiling,
        arguments.encoder_weights,
        outputs,
    )
    if fabric.is_global_zero:
        weights, saved, measured = state.model(params.train.checkpoint)
        used = current_environment(fabric)
        with output_folder(arguments.model) as folder:
            origin = read_weights_origin(arguments.encoder_weights)
            common = (training, validation, params.train, params.train.seed, used, origin.card_entry)
            found = calibrate(fabric, weights, validation, params.train, tiling, origin.pretraining)
            card = replace(
                describe(saved.epoch, measured.iou, *common),
                temperature=found.temperature,
                best_logit=found.best_logit,
                foreground=params.download.foreground,
                ancestor_micrographs=seen.names,
            )
            write_model(folder, weights, card)
            write_image_statistics(folder, training, found.entropy, seen.digests, scale)
        write_json(arguments.metrics, training_metrics(measured))
        write_json(arguments.report, training_report(state.records, saved, measured, used, fabric.device))
        outputs.write_curves(state.records)


def weighted(training: Sequence[str], metadata: Path, weight: int) -> tuple[str, ...]:
    """Return the training micrographs, each corrected one `weight` times, so that it gives more crops."""
    return tuple(sorted([*training, *corrected_images(metadata, training) * (weight - 1)]))


def pixel_size(given: float | str | None, metadata: Path, training: Sequence[str]) -> PixelSize | None:
    """Return the pixel size of the training micrographs: the parameter, or with auto what they have in common."""
    if given is None or isinstance(given, str):
        return None if given is None else common_pixel_size(metadata, training)
    return PixelSize(given, "train.pixel_size_um")


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "images": "the folder of micrographs, data/raw/images",
            "masks": "the folder of masks, data/masks",
            "metadata": "what is known of each micrograph, data/raw/metadata.csv",
            "split": "which micrographs are for training, validation and test, data/split.csv",
            "encoder-weights": "the initial weights, data/encoder_weights",
            "model": "the folder to write: weights, model card, image statistics, models",
            "metrics": "the metrics to write, metrics/train.json",
            "report": "losses, times and environment to write, reports/training.json",
            "history": "the table of epochs to write, plots/train.csv",
            "validation": "the table of validated epochs to write, plots/validation.csv",
            "crops": "the picture of the first training crops to write, plots/training_crops.png",
        },
        on_every_device=True,
    )
