"""Measure the predicted masks against the annotated ones on micrographs the network has not trained on."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from microseg.annotations.polygons import read_polygons
from microseg.common.command import run_stage
from microseg.common.files import output_folder, write_csv, write_json
from microseg.common.parallel import map_in_processes
from microseg.common.params import Accelerator, Params, Precision, PredictParams
from microseg.evaluation import tables
from microseg.evaluation.calibration import RELIABILITY_HEADER, Values, reliability_table
from microseg.evaluation.metrics import (
    SCORE_TABLE_HEADER,
    MeasuredMicrograph,
    Subject,
    headline_metrics,
    measure_micrograph,
    report_of,
    score_table,
    summarize_method,
)
from microseg.evaluation.robustness import ROBUSTNESS_HEADER, Robustness
from microseg.evaluation.scores import digest
from microseg.micrographs.images import read_mask, read_micrograph
from microseg.network.model_card import model_identity, read_card
from microseg.prediction.logits import read_settings
from microseg.prediction.postprocessing import METHODS
from microseg.prediction.reliability import measure_probabilities
from microseg.splits import TEST, VALIDATION, SplitRow, evaluated_split, read_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the metrics, the report with its tables, and the pictures."""
    rows = read_split(arguments.split)
    split = evaluated_split(rows)
    points = {
        mask.img_name: tuple(one.center for one in mask.polygons) for mask in read_polygons(arguments.polygons)
    }
    subjects = [Subject(row.image, row.group, points[row.image]) for row in rows if row.split == split]
    measure = partial(
        measure_micrograph, masks=arguments.masks, predictions=arguments.predictions, methods=METHODS
    )
    measured = list(map_in_processes(measure, subjects, f"measuring {split}"))
    summaries = {method: summarize_method(measured, method) for method in METHODS}
    for method, summary in summaries.items():
        mean, zero = summary.scores["mean_iou"], summary.scores["fraction_zero"]
        logging.info(
            "%s: mean IoU %s on %d %s micrographs; fraction at 0: %s", method, mean, len(measured), split, zero
        )
    card, images = read_card(arguments.model), [subject.image for subject in subjects]
    settings = read_settings(arguments.predictions)
    # Temperature and threshold were fitted on the validation micrographs, of which they would say nothing.
    probabilities = (
        measure_probabilities(images, arguments.logits, arguments.masks, settings["best_logit"])
        if split == TEST
        else None
    )
    perturbed = {"test": split, "validation": VALIDATION, "none": None}[params.evaluate.robustness]
    device = (params.train.accelerator, params.train.precision)
    robustness = measure_perturbed(arguments, rows, perturbed, settings, *device) if perturbed else None
    write_json(arguments.metrics, headline_metrics(summaries))
    dataset = {
        "source": params.download.source,
        "foreground": params.download.foreground,
        "split": split,
        "images": len(images),
        "ground_truth_sha256": digest(images, arguments.masks),
    }
    report = report_of(measured, summaries)
    if probabilities:
        report["calibration"] = probabilities.metrics()
    if robustness:
        report["robustness"] = robustness.metrics()
    made_with = {"settings": settings, "model": model_identity(card)}
    with output_folder(arguments.report) as folder:
        write_json(folder / "evaluation.json", {"dataset": dataset, **report, **made_with})
        write_csv(folder / "scores.csv", SCORE_TABLE_HEADER, score_table(summaries))
        write_tables(folder, measured)
        if probabilities:
            write_csv(folder / "reliability.csv", RELIABILITY_HEADER, reliability_table(probabilities.counts))
        if robustness:
            write_csv(folder / "robustness.csv", ROBUSTNESS_HEADER, robustness.table())
    counts = probabilities.counts if probabilities else None
    write_figures(arguments, params.evaluate.examples, measured, counts, robustness)


def measure_perturbed(
    arguments: argparse.Namespace,
    rows: Sequence[SplitRow],
    split: str,
    settings: Mapping[str, Any],
    accelerator: Accelerator,
    precision: Precision,
) -> Robustness:
    """Predict perturbed micrographs of a split with the `settings` of the predictions, and measure the masks."""
    # Importing torch takes seconds, which only this measurement needs.
    from microseg.network.devices import start
    from microseg.network.inputs import MaskedMicrographs
    from microseg.network.model_io import read_model
    from microseg.prediction.perturbations import measure_robustness

    chosen = [row for row in rows if row.split == split]
    robustness = measure_robustness(
        start(accelerator, precision),
        *read_model(arguments.model),
        MaskedMicrographs(arguments.images, arguments.masks, tuple(row.image for row in chosen)),
        split,
        [row.group for row in chosen],
        PredictParams(**settings["predict"]),
        settings["postprocess"]["sigmoid_threshold"],
    )
    logging.info("%s", robustness)
    return robustness


def write_tables(folder: Path, measured: Sequence[MeasuredMicrograph]) -> None:
    """Write the rows for each micrograph, island, class of islands and threshold."""
    pixels = [one.pixels for one in measured]
    write_csv(folder / "micrographs.csv", tables.IMAGE_TABLE_HEADER, tables.image_table(measured))
    write_csv(folder / "ranked_iou.csv", ("fraction", *METHODS), tables.ranked_iou(pixels, METHODS))
    write_csv(folder / "islands.csv", tables.ISLAND_TABLE_HEADER, tables.island_table(measured))
    classes = tables.island_classes(measured, METHODS)
    write_csv(folder / "island_recall.csv", tables.CLASS_TABLE_HEADER, tables.class_table(classes))
    write_csv(folder / "island_f1.csv", ("iou_threshold", *METHODS), tables.f1_by_threshold(measured, METHODS))


def write_figures(
    arguments: argparse.Namespace,
    examples: int,
    measured: Sequence[MeasuredMicrograph],
    probabilities: Values | None,
    robustness: Robustness | None,
) -> None:
    """Write the best and the worst masks, and the figures of IoU, islands, calibration and robustness."""
    # Not at the top: every process that measures reads this file, and none needs matplotlib.
    from microseg.evaluation.figures import (
        Example,
        example_figures,
        iou_figures,
        island_figures,
        plot_reliability,
        plot_robustness,
    )
    from microseg.plotting import save_column_figure, save_figure

    def load(image: str) -> Example:
        return Example(
            name=image,
            micrograph=read_micrograph(arguments.images / image),
            truth=read_mask(arguments.masks / image),
            predictions={method: read_mask(arguments.predictions / method / image) for method in METHODS},
        )

    pixels = [one.pixels for one in measured]
    with output_folder(arguments.examples) as folder:
        for name, figure in example_figures(pixels, examples, load):
            save_figure(figure, folder / name)
    with output_folder(arguments.plots) as folder, output_folder(arguments.vectors) as vectors:
        classes = list(tables.island_classes(measured, METHODS))
        f1 = list(tables.f1_by_threshold(measured, METHODS))
        for name, figure in (*iou_figures(pixels), *island_figures(classes, f1, METHODS)):
            save_column_figure(figure, folder / name, vectors)
        if probabilities is not None:
            save_column_figure(plot_reliability(probabilities), folder / "reliability.png", vectors)
        if robustness is not None:
            save_column_figure(plot_robustness(robustness), folder / "robustness.png", vectors)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "split": "the split, data/split.csv; the test set is measured, or the validation set if there is none",
            "polygons": "the annotated polygons, whose points are looked for in the masks, data/polygons.jsonl",
            "images": "the folder of micrographs, data/raw/images",
            "masks": "the folder of annotated masks, data/masks",
            "logits": "the folder of logits, whose probabilities are measured, data/logits",
            "predictions": "the folder of predicted masks, data/predictions",
            "model": "the folder of the trained network, which predicts perturbed micrographs, models",
            "metrics": "the scores to compare experiments by, the file to write, metrics/evaluation.json",
            "report": "all scores with their intervals, and tables, the folder to write, reports/evaluation",
            "examples": "the folder of best and worst masks to write, plots/examples",
            "plots": "the folder of figures to write, plots/evaluation",
            "vectors": "the folder of the same figures as SVG and PDF to write, plots/vectors",
        },
    )
