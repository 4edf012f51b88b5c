"""Decide which micrographs are for training, which for validation, and which for the test."""

import bootstrap  # noqa: F401 (first: it decides which package is imported below)

import argparse
import logging
from functools import partial
from operator import attrgetter

from microseg.annotations.issues import Issue, count, write_issues
from microseg.annotations.polygons import read_polygons
from microseg.common.command import run_stage
from microseg.common.errors import InputError
from microseg.common.files import write_json
from microseg.common.params import Params
from microseg.micrographs.images import repeated_images
from microseg.micrographs.metadata import corrected_images, group_name, values_of
from microseg.micrographs.overlaps import look_at, overlap_message, overlapping_images
from microseg.splits import (
    TRAIN,
    Fold,
    SplitRow,
    draw_beside,
    draw_split,
    fold_of_column,
    images_of_fold,
    join_copies,
    split_from_column,
    split_sizes,
    write_split,
)

REPEATED, OVERLAPPING = "repeated_image", "overlapping_image"


def main(arguments: argparse.Namespace, params: Params) -> None:
    """Write the split, the sizes of training, validation and test set, and what shows the same place."""
    masks = read_polygons(arguments.polygons)
    images = [mask.img_name for mask in masks]
    metadata = arguments.raw / "metadata.csv"
    looks = look_at(arguments.raw / "images", images)
    copies = repeated_images({image: look.digest for image, look in looks.items()})
    settings, seed = params.split, params.seed
    column = settings.from_column or settings.fold_column
    named = values_of(metadata, images, [column]) if column else {}
    value_of = {image: value.strip() for image, (value,) in named.items()}
    columns = settings.group_by
    values = values_of(metadata, images, columns) if columns else dict.fromkeys(images, ())
    groups = join_copies({image: group_name(values[image]) for image in images}, copies)
    corrected = [] if column else corrected_images(metadata, images)
    # A network that has drafted an annotation scores too well on it, and so it does on others of the group.
    known = {groups[image] for image in corrected} - {""}
    kept = [image for image in images if image in corrected or groups[image] in known]
    drawn = {image: group for image, group in groups.items() if image not in kept}
    draw = partial(
        draw_split,
        sample_size=settings.sample_size,
        validation_size=settings.validation_size,
        validation_fold=settings.validation_fold,
        seed=seed,
    )
    if settings.from_column is not None:
        rows = split_from_column(value_of, settings.sample_size, seed, copies)
    elif settings.fold_column is not None:
        rows = draw_beside(fold_of_column(value_of, settings.fold, copies), groups, draw)
    elif settings.folds is not None:
        islands = {mask.img_name: len(mask) for mask in masks}
        fold = Fold(settings.fold, settings.folds)
        rows = draw_beside(images_of_fold(drawn, islands, fold, seed), drawn, draw)
    else:
        rows = draw(drawn, test_size=settings.test_size)
    rows = sorted([*rows, *(SplitRow(image, TRAIN, groups[image]) for image in kept)], key=attrgetter("image"))
    if kept:
        logging.info(
            "split: %d micrographs with corrected predictions, or of their groups, are for training", len(kept)
        )
    sides = {row.image: row.split for row in rows}
    if settings.fold_column is not None:
        sides = {image: value_of[image] for image in sides}
    elif settings.folds is not None:  # what is on one side for this fold may be on two for another
        sides = {row.image: row.group or row.image for row in rows} | dict.fromkeys(kept, TRAIN)
    pairs = overlapping_images(looks, sides)
    if pairs and not settings.allow_overlap:
        raise InputError(overlap_message(pairs))
    issues = [
        Issue(REPEATED, image, None, f"the same pixels as {first}; both stay in one split")
        for first, *others in copies
        for image in others
    ]
    issues += [Issue(OVERLAPPING, second, None, f"shows the same place as {first}") for first, second in pairs]
    sizes = split_sizes(rows)
    logging.info("split: %s", ", ".join(f"{size} {split}" for split, size in sizes.items()))
    write_split(arguments.split, rows)
    write_json(arguments.metrics, sizes | {"issues": count(issues, (REPEATED, OVERLAPPING))})
    write_issues(arguments.findings, issues, lambda _: None)


if __name__ == "__main__":
    run_stage(
        main,
        description=str(__doc__),
        arguments={
            "polygons": "the annotated micrographs, data/polygons.jsonl",
            "raw": "the raw dataset: its micrographs, and metadata.csv for the columns of the section split",
            "split": "the split to write, data/split.csv",
            "metrics": "the numbers of micrographs to write, reports/split.json",
            "findings": "the list of issues to write, reports/split_issues.csv",
        },
    )
