"""`microseg crossval`: cross-validation, in which every micrograph is tested once."""

import argparse
from pathlib import Path

from microseg.console.sweep import add_settings

DEFAULT_FOLDS = 5


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Split the micrographs into folds, run an experiment with each fold as test set, and report the scores "
        "of all micrographs and the annotations to check first. Experiments that exist are not run again."
    )
    parser.add_argument("-k", "--folds", type=int, metavar="N", help=f"number of folds (default: {DEFAULT_FOLDS})")
    parser.add_argument(
        "--fold-column",
        metavar="COLUMN",
        help="test the folds that this column of metadata.csv has, instead of drawing some",
    )
    parser.add_argument(
        "--group-by",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns of metadata.csv whose groups stay in one fold (default: split.group_by of params.yaml)",
    )
    add_settings(parser, "KEY=VALUE", "another parameter of all folds; may be given several times")
    parser.add_argument(
        "-j", "--jobs", type=int, default=1, metavar="N", help="folds to run at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("plots/crossval"),
        metavar="FOLDER",
        help="folder for tables, figures and the report (default: %(default)s)",
    )
    parser.set_defaults(run=_crossval, refuse=parser.error)


def _crossval(parsed: argparse.Namespace) -> int:
    if parsed.jobs < 1:
        parsed.refuse("--jobs: give at least 1")
    if parsed.fold_column is not None and (parsed.folds is not None or parsed.group_by):
        parsed.refuse("--fold-column: its folds are given; omit --folds and --group-by")
    from microseg.common.params_file import PARAMS
    from microseg.experiments.crossval import (
        fold_settings,
        out_of_fold,
        published_fold_settings,
        write_crossval,
    )
    from microseg.experiments.dvc_access import reproduce
    from microseg.experiments.settings import build_grid
    from microseg.experiments.sweep import run_sweep

    if parsed.fold_column is not None:
        reproduce("parse_csv")  # a fresh clone has no table of the folds
        settings = published_fold_settings(parsed.fold_column, parsed.settings)
    else:
        settings = fold_settings(parsed.folds or DEFAULT_FOLDS, parsed.group_by, parsed.settings)
    experiments = build_grid(settings, PARAMS)
    if run_sweep(experiments, parsed.jobs, dry_run=False):
        return 1
    print(write_crossval(out_of_fold(experiments), parsed.output), end="")
    return 0
