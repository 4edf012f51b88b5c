"""`microseg sweep`: the experiments of a grid."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from microseg.experiments.grid import Experiment

PARAMS = Path("params.yaml")


def define(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command its description and arguments."""
    parser.description = (
        "Run an experiment for each combination of the values, through DVC's queue. What there is already is not "
        "run again; the same command goes on after an interruption."
    )
    parser.add_argument(
        "-S",
        "--set-param",
        action="append",
        default=[],
        metavar="KEY=VALUE,VALUE",
        dest="settings",
        help="a parameter of params.yaml and its values; may be given several times",
    )
    parser.add_argument("-j", "--jobs", type=int, default=1, help="experiments at a time (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only say what there is to do")
    parser.add_argument(
        "--share",
        metavar="REMOTE",
        help="work on the sweep together with others: claim, run and push one experiment after the other",
    )
    parser.add_argument(
        "--release", metavar="NAME", help="with --share: remove the claim of a worker that is dead"
    )
    parser.set_defaults(run=_sweep, refuse=parser.error)


def _sweep(parsed: argparse.Namespace) -> int:
    from microseg.experiments.grid import build_grid
    from microseg.experiments.shared_sweep import release_claim, run_shared_sweep

    if parsed.release and parsed.share and not parsed.settings:
        release_claim(parsed.share, parsed.release)
        return 0
    if parsed.release or not parsed.settings or parsed.jobs < 1:
        parsed.refuse("give -S KEY=VALUE,VALUE, or --share REMOTE --release NAME; --jobs is at least 1")
    experiments = build_grid(parsed.settings, PARAMS)
    if not parsed.share:
        return _sweep_here(experiments, parsed.jobs, dry_run=parsed.dry_run)
    if parsed.dry_run or parsed.jobs > 1:
        parsed.refuse("--share takes neither --dry-run nor --jobs; start a worker in each of several clones")
    failed = run_shared_sweep(experiments, parsed.share)
    return 1 if failed else 0


def _sweep_here(experiments: Sequence["Experiment"], jobs: int, *, dry_run: bool) -> int:
    from microseg.experiments.sweep import run_sweep

    log = logging.getLogger(__name__)
    try:
        failed = run_sweep(experiments, jobs, dry_run=dry_run)
    except KeyboardInterrupt:
        log.warning("experiments go on in the background; `dvc queue stop --kill` ends them")
        raise
    for name in failed:
        log.error("%s failed; read its log with `dvc queue logs %s`", name, name)
    return 1 if failed else 0
