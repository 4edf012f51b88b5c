"""Turn logits into binary masks in two ways: sigmoid, and threshold with morphological opening and closing."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse

from microseg.common.command import run_stage
from microseg.common.params import Params
from microseg.prediction.postprocessing import write_predictions
from microseg.splits import predicted_images, read_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write both masks of every micrograph that has logits."""
    images = predicted_images(read_split(arguments.split), params.predict.subset)
    write_predictions(images, arguments.logits, arguments.predictions, params.postprocess)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "split": "which micrographs have logits, data/split.csv",
            "logits": "the folder of logits, data/logits",
            "predictions": "the folder to write, a folder of masks in it for each method, data/predictions",
        },
    )
