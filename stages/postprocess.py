"""Turn logits into binary masks in two ways: sigmoid, and threshold with morphological opening and closing."""

import this_copy  # noqa: F401 (first: it decides which package is imported below)

import argparse

from microseg.common.command import run_stage
from microseg.common.files import output_folder
from microseg.common.params import Params
from microseg.common.progress import progress
from microseg.micrographs.images import write_mask
from microseg.prediction.logits import read_logits
from microseg.prediction.postprocessing import METHODS, morphological_mask, sigmoid_mask
from microseg.splits import TEST, VALIDATION, images_of, read_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write both masks of every validation and test micrograph."""
    images = images_of(read_split(arguments.split), VALIDATION, TEST)
    with output_folder(arguments.predictions) as folder:
        for method in METHODS:
            (folder / method).mkdir()
        for image in progress(images, "masks from logits"):
            logits = read_logits(arguments.logits, image)
            masks = {
                "sigmoid": sigmoid_mask(logits, params.postprocess.sigmoid_threshold),
                "morphology": morphological_mask(
                    logits,
                    params.postprocess.morphology_threshold,
                    params.postprocess.opening_radius,
                    params.postprocess.closing_radius,
                ),
            }
            for method, mask in masks.items():
                write_mask(folder / method / image, mask)


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
