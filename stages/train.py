"""Train the network, or take up an earlier training that was the same up to some epoch."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
from dataclasses import replace

from microseg.common.command import run_stage
from microseg.common.files import output_folder, write_json
from microseg.common.params import Params
from microseg.splits import TRAIN, VALIDATION, images_of, read_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the model, its card, the figures and the log of the training."""
    # Importing torch takes seconds, which --help and wrong arguments need not wait for.
    from microseg.network.devices import start
    from microseg.network.environment import current_environment
    from microseg.network.inputs import MaskedMicrographs
    from microseg.network.model_card import read_weights_origin
    from microseg.network.model_io import describe, write_model
    from microseg.network.sliding_window import Tiling
    from microseg.training.checkpoints import checkpoint_root
    from microseg.training.export import calibrate, write_image_statistics
    from microseg.training.pixel_cache import pixel_cache_root
    from microseg.training.records import training_metrics, write_tables
    from microseg.training.train import train

    rows = read_split(arguments.split)
    training, validation = (
        MaskedMicrographs(arguments.images, arguments.masks, tuple(sorted(images_of(rows, part))))
        for part in (TRAIN, VALIDATION)
    )
    fabric = start(params.train.accelerator, params.train.precision, params.train.devices, params.train.num_nodes)
    tiling = Tiling(params.predict.tile_size, params.predict.tile_overlap)
    state = train(
        fabric,
        training,
        validation,
        params.train,
        params.train.seed,
        checkpoint_root(),
        pixel_cache_root(),
        tiling,
        arguments.encoder_weights,
    )
    if fabric.is_global_zero:
        weights, kept, measured = state.model(params.train.checkpoint)
        used = current_environment(fabric)
        with output_folder(arguments.model) as folder:
            brought = read_weights_origin(arguments.encoder_weights).on_the_card
            card = describe(
                kept.epoch, measured.iou, training, validation, params.train, params.train.seed, used, brought
            )
            temperature, best_logit = calibrate(fabric, weights, validation, params.train, tiling)
            write_model(folder, weights, replace(card, temperature=temperature, best_logit=best_logit))
            write_image_statistics(fabric, folder, training, validation)
        write_json(arguments.metrics, training_metrics(state.records, kept, measured, used))
        write_tables(arguments.history, arguments.validation, state.records)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "images": "the folder of micrographs, data/raw/images",
            "masks": "the folder of masks, data/masks",
            "split": "which micrographs train and which validate, data/split.csv",
            "encoder-weights": "where the training starts, data/encoder_weights",
            "model": "the folder to write the weights and the model card into, models",
            "metrics": "the figures to write, metrics/train.json",
            "history": "the table of epochs to write, plots/train.csv",
            "validation": "the table of validated epochs to write, plots/validation.csv",
        },
        on_every_device=True,
    )
