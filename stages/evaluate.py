"""Measure the predicted masks against the annotated ones on micrographs the network has not trained on."""

import this_copy  # noqa: F401 (first: it decides which package is imported below)

import argparse
import logging

from microseg.common.command import run_stage
from microseg.common.files import output_folder, write_csv, write_json
from microseg.common.params import Params
from microseg.evaluation.scores import IMAGE_TABLE_HEADER, digest, image_table, measure, metrics_of, ranked_iou
from microseg.micrographs.images import read_mask, read_micrograph
from microseg.network.card import origin, read_card
from microseg.prediction.postprocessing import METHODS
from microseg.splits import images_of, measured_part, read_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the metrics, a table with a row for each micrograph and method, and the pictures."""
    # Not at the top: every process that measures reads this file, and none needs matplotlib.
    from microseg.common.figure_style import save_figure
    from microseg.evaluation.figures import Example, evaluation_figures

    def load(image: str) -> Example:
        return Example(
            name=image,
            micrograph=read_micrograph(arguments.images / image),
            truth=read_mask(arguments.masks / image),
            predictions={method: read_mask(arguments.predictions / method / image) for method in METHODS},
        )

    rows = read_split(arguments.split)
    part = measured_part(rows)
    images = images_of(rows, part)
    measured = list(measure(images, arguments.masks, arguments.predictions, METHODS))
    metrics = metrics_of(measured, METHODS)
    for method, values in metrics.items():
        logging.info("%s: mean IoU %.4f on %d %s micrographs", method, values["mean_iou"], len(images), part)
    write_csv(arguments.table, IMAGE_TABLE_HEADER, image_table(measured))
    write_csv(arguments.ranks, ("share", *METHODS), ranked_iou(measured, METHODS))
    with output_folder(arguments.plots) as folder:
        for name, figure in evaluation_figures(measured, params.evaluate.examples, load):
            save_figure(figure, folder / name)
    source = {
        "dataset": params.download.source,
        "split": part,
        "images": len(images),
        "truth": digest(images, arguments.masks),
    }
    model = origin(read_card(arguments.model))
    write_json(arguments.metrics, {"measured_on": source, "model": model, **metrics})


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "split": "the split, data/split.csv; the test part is measured, or validation where there is no test",
            "images": "the folder of micrographs, data/raw/images",
            "masks": "the folder of annotated masks, data/masks",
            "predictions": "the folder of predicted masks, data/predictions",
            "model": "the folder of the trained network, whose card says where the predictions are from, models",
            "metrics": "the metrics to write, metrics/evaluation.json",
            "table": "the table to write, a row for each micrograph and method, plots/evaluation.csv",
            "ranks": "the curve to write, IoU from the worst micrograph to the best, plots/ranked_iou.csv",
            "plots": "the folder of pictures to write, plots/evaluation",
        },
    )
