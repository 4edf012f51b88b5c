"""The console command `microseg`."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from microseg.errors import InputError
from microseg.params import check_key, read_params

if TYPE_CHECKING:
    from microseg.experiments.grid import Experiment

PARAMS = Path("params.yaml")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 1 and one line on an InputError."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    # A worker that is told to end tidies up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(parsed.run(parsed))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="microseg", description="Many experiments, and what they show.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_sweep(commands.add_parser("sweep", help="run the experiments of a grid that are not there yet"))
    _add_experiments(commands.add_parser("experiments", help="draw what comparable experiments show"))
    _add_review(commands.add_parser("review", help="compare with a commit, as Markdown for a review"))
    return parser


def _add_review(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print what the working tree changes in parameters, metrics and plots, as Markdown."
    parser.add_argument("base", metavar="COMMIT", help="the commit to compare with, such as origin/main")
    parser.set_defaults(run=_review)


def _review(parsed: argparse.Namespace) -> int:
    from microseg.experiments.review import review

    print(review(parsed.base), end="")
    return 0


def _add_sweep(parser: argparse.ArgumentParser) -> None:
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


def _add_experiments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw the IoU of both methods against one parameter, with the experiments that have everything else in "
        "common, and say which others were left out and why."
    )
    parser.add_argument("--x", required=True, metavar="KEY", help="the parameter to draw against")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter in which the experiments differ from params.yaml; may be given several times",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("plots/experiments"),
        metavar="FOLDER",
        help="where the PNG, CSV and Markdown files go (default: %(default)s)",
    )
    commits = parser.add_mutually_exclusive_group()
    commits.add_argument("--rev", metavar="COMMIT", help="take the experiments of this commit")
    commits.add_argument(
        "--all-commits",
        action="store_true",
        help="take the experiments of all commits of this branch, whose code may differ",
    )
    parser.set_defaults(run=_experiments)


def _experiments(parsed: argparse.Namespace) -> int:
    from microseg.experiments.comparison import compare
    from microseg.experiments.dvc_access import cell, experiment_table
    from microseg.experiments.grid import parse_setting, parse_value
    from microseg.experiments.report import to_markdown, write_report

    check_key(parsed.x)
    read_params(PARAMS)  # so that a mistake in it is called by its name
    conditions = {}
    for setting in parsed.where:
        key, texts = parse_setting(setting)
        if key == parsed.x or len(texts) != 1:
            raise InputError(f"--where {setting}: give one value, and not for the parameter to draw against")
        conditions[key] = cell(parse_value(texts[0]))
    rows = experiment_table(commits=-1 if parsed.all_commits else 1, revision=parsed.rev)
    comparison = compare(rows, parsed.x, conditions)
    settings = "".join(f", {setting}" for setting in parsed.where)
    paths = write_report(comparison, parsed.output, settings)
    print(to_markdown(comparison, settings))
    print("Written:", *paths)
    return 0


if __name__ == "__main__":
    main()
