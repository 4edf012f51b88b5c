"""Predict the logits of the micrographs that are measured, or of all validation and test micrographs."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse

from microseg.common.command import run_stage
from microseg.common.params import Params
from microseg.splits import predicted_images, read_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write one array of logits for each micrograph."""
    # Importing torch takes seconds, which --help and wrong arguments need not wait for.
    from microseg.network.devices import start
    from microseg.network.model_io import read_model
    from microseg.prediction.inference import write_logits_folder

    names = predicted_images(read_split(arguments.split), params.predict.subset)
    network, card = read_model(arguments.model)
    fabric = start(params.train.accelerator, params.train.precision, params.train.devices, params.train.num_nodes)
    write_logits_folder(fabric, network, card, arguments.images, names, arguments.logits, params.predict)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "images": "the folder of micrographs, data/raw/images",
            "split": "which micrographs to predict, data/split.csv",
            "model": "the folder of the trained network, models",
            "logits": "the folder of arrays to write, data/logits",
        },
        on_every_device=True,
    )
