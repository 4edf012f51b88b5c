"""Provide the initial weights of the network, if the parameters ask for any."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse

from microseg.common.command import run_stage
from microseg.common.files import output_folder
from microseg.common.params import Params


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the weights and their origin."""
    from microseg.sources.pretrained_weights import write_encoder_weights

    with output_folder(arguments.output) as folder:
        write_encoder_weights(folder, params.train.encoder, params.train.encoder_weights, arguments.folder)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "folder": "the folder of your own weights, data/weights",
            "output": "the folder to write, data/encoder_weights",
        },
    )
