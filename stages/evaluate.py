"""Measure the predicted masks against the annotated ones on micrographs the network has not trained on."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
import logging
from collections.abc import Sequence
from functools import partial

from microseg.annotations.polygons import read_polygons
from microseg.common.command import run_stage
from microseg.common.files import output_folder, write_csv, write_json
from microseg.common.parallel import map_in_processes
from microseg.common.params import Params
from microseg.evaluation import tables
from microseg.evaluation.calibration import RELIABILITY_HEADER, Values, reliability_table
from microseg.evaluation.metrics import (
    SCORE_TABLE_HEADER,
    MeasuredMicrograph,
    Subject,
    measure_micrograph,
    metrics_of,
    score_table,
    summarize_method,
)
from microseg.evaluation.scores import digest
from microseg.micrographs.images import read_mask, read_micrograph
from microseg.network.model_card import model_identity, read_card
from microseg.prediction.postprocessing import METHODS
from microseg.prediction.reliability import measure_probabilities
from microseg.splits import measured_part, read_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the metrics, the tables and the pictures."""
    rows = read_split(arguments.split)
    part = measured_part(rows)
    points = {
        mask.img_name: tuple(one.center for one in mask.polygons) for mask in read_polygons(arguments.polygons)
    }
    subjects = [Subject(row.image, row.group, points[row.image]) for row in rows if row.split == part]
    measure = partial(
        measure_micrograph, masks=arguments.masks, predictions=arguments.predictions, methods=METHODS
    )
    measured = list(map_in_processes(measure, subjects, f"measuring {part}"))
    summaries = {method: summarize_method(measured, method) for method in METHODS}
    for method, summary in summaries.items():
        mean = summary.scores["mean_iou"]
        logging.info("%s: mean IoU %s on %d %s micrographs", method, mean, len(measured), part)
    card, images = read_card(arguments.model), [subject.image for subject in subjects]
    # Where the logits were divided by the temperature, the best one to cut at is too.
    cut = card.best_logit / card.temperature if params.predict.temperature_scaling else card.best_logit
    probabilities = measure_probabilities(images, arguments.logits, arguments.masks, cut)
    write_csv(arguments.scores, SCORE_TABLE_HEADER, score_table(summaries))
    write_tables(arguments, measured)
    write_csv(arguments.reliability, RELIABILITY_HEADER, reliability_table(probabilities.counts))
    write_figures(arguments, params.evaluate.examples, measured, probabilities.counts)
    source = {
        "dataset": params.download.source,
        "split": part,
        "images": len(images),
        "truth": digest(images, arguments.masks),
    }
    metrics = metrics_of(measured, summaries) | {"calibration": probabilities.metrics()}
    write_json(arguments.metrics, {"measured_on": source, **metrics, "model": model_identity(card)})


def write_tables(arguments: argparse.Namespace, measured: Sequence[MeasuredMicrograph]) -> None:
    """Write the rows for each micrograph, island, class of islands and threshold."""
    pixels = [one.pixels for one in measured]
    write_csv(arguments.table, tables.IMAGE_TABLE_HEADER, tables.image_table(measured))
    write_csv(arguments.ranks, ("share", *METHODS), tables.ranked_iou(pixels, METHODS))
    write_csv(arguments.islands, tables.ISLAND_TABLE_HEADER, tables.island_table(measured))
    classes = tables.island_classes(measured, METHODS)
    write_csv(arguments.recall, tables.CLASS_TABLE_HEADER, tables.class_table(classes))
    write_csv(arguments.f1, ("iou_threshold", *METHODS), tables.f1_by_threshold(measured, METHODS))


def write_figures(
    arguments: argparse.Namespace, examples: int, measured: Sequence[MeasuredMicrograph], probabilities: Values
) -> None:
    """Write the pictures of micrographs, of islands and of probabilities into one folder."""
    # Not at the top: every process that measures reads this file, and none needs matplotlib.
    from microseg.evaluation.figures import Example, example_figures, iou_figures, island_figures, plot_reliability
    from microseg.plotting import save_column_figure, save_figure

    def load(image: str) -> Example:
        return Example(
            name=image,
            micrograph=read_micrograph(arguments.images / image),
            truth=read_mask(arguments.masks / image),
            predictions={method: read_mask(arguments.predictions / method / image) for method in METHODS},
        )

    with output_folder(arguments.plots) as folder:
        pixels = [one.pixels for one in measured]
        for name, figure in example_figures(pixels, examples, load):
            save_figure(figure, folder / name)
        classes = list(tables.island_classes(measured, METHODS))
        f1 = list(tables.f1_by_threshold(measured, METHODS))
        for name, figure in (*iou_figures(pixels), *island_figures(classes, f1, METHODS)):
            save_column_figure(figure, folder / name)
        save_column_figure(plot_reliability(probabilities), folder / "reliability.png")


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "split": "the split, data/split.csv; the test part is measured, or validation where there is no test",
            "polygons": "the annotated polygons, whose points are looked for in the masks, data/polygons.jsonl",
            "images": "the folder of micrographs, data/raw/images",
            "masks": "the folder of annotated masks, data/masks",
            "logits": "the folder of logits, whose probabilities are measured, data/logits",
            "predictions": "the folder of predicted masks, data/predictions",
            "model": "the folder of the trained network, whose card says where the predictions are from, models",
            "metrics": "the metrics to write, metrics/evaluation.json",
            "scores": "all scores with their intervals, the table to write, plots/scores.csv",
            "table": "the table to write, a row for each micrograph and method, plots/evaluation.csv",
            "ranks": "the curve to write, IoU from the worst micrograph to the best, plots/ranked_iou.csv",
            "islands": "the table to write, a row for each annotated island and method, plots/islands.csv",
            "recall": "the table to write, islands found by size and border distance, plots/island_recall.csv",
            "f1": "the curve to write, F1 of the islands over IoU thresholds, plots/island_f1.csv",
            "reliability": "the table to write, probabilities and how often they are right, plots/reliability.csv",
            "plots": "the folder of pictures to write, plots/evaluation",
        },
    )
