"""Decide which micrographs are for training, which for validation, and which for the test."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
import logging

from microseg.annotations.polygons import read_polygons
from microseg.common.command import run_stage
from microseg.common.files import write_json
from microseg.common.params import Params
from microseg.micrographs.images import repeated_images
from microseg.micrographs.metadata import group_name, values_of
from microseg.splits import Fold, draw_fold, draw_split, join_copies, split_from_column, split_sizes, write_split


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the split and the sizes of training, validation and test set."""
    masks = read_polygons(arguments.polygons)
    images = [mask.img_name for mask in masks]
    metadata = arguments.raw / "metadata.csv"
    copies = repeated_images(arguments.raw / "images", images)
    column = params.split.from_column
    if column is not None:
        named = values_of(metadata, images, [column])
        rows = split_from_column(
            {image: value for image, (value,) in named.items()}, params.split.sample_size, params.seed, copies
        )
    else:
        columns = params.split.group_by
        values = values_of(metadata, images, columns) if columns else dict.fromkeys(images, ())
        groups = join_copies({image: group_name(values[image]) for image in images}, copies)
        size, validation = params.split.sample_size, params.split.validation_size
        if params.split.folds is not None:
            fold = Fold(params.split.fold, params.split.folds)
            islands = {mask.img_name: len(mask) for mask in masks}
            rows = draw_fold(
                groups,
                islands,
                fold,
                sample_size=size,
                validation_size=validation,
                validation_fold=params.split.validation_fold,
                seed=params.seed,
            )
        else:
            rows = draw_split(
                groups,
                test_size=params.split.test_size,
                sample_size=size,
                validation_size=validation,
                validation_fold=params.split.validation_fold,
                seed=params.seed,
            )
    sizes = split_sizes(rows)
    logging.info("split: %s", ", ".join(f"{size} {split}" for split, size in sizes.items()))
    write_split(arguments.split, rows)
    write_json(arguments.metrics, sizes)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "polygons": "the annotated micrographs, data/polygons.jsonl",
            "raw": "the raw dataset: its micrographs, and metadata.csv for split.group_by and split.from_column",
            "split": "the split to write, data/split.csv",
            "metrics": "the numbers of micrographs to write, reports/split.json",
        },
    )
