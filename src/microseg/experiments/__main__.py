"""The console command `microseg`."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from microseg.errors import InputError

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
        required=True,
        metavar="KEY=VALUE,VALUE",
        dest="settings",
        help="a parameter of params.yaml and its values; may be given several times",
    )
    parser.add_argument("-j", "--jobs", type=int, default=1, help="experiments at a time (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only say what there is to do")
    parser.set_defaults(run=_sweep)


def _sweep(parsed: argparse.Namespace) -> int:
    from microseg.experiments.grid import build_grid
    from microseg.experiments.sweep import run_sweep

    log = logging.getLogger(__name__)
    experiments = build_grid(parsed.settings, PARAMS)
    try:
        failed = run_sweep(experiments, parsed.jobs, dry_run=parsed.dry_run)
    except KeyboardInterrupt:
        log.warning("experiments go on in the background; `dvc queue stop --kill` ends them")
        raise
    for name in failed:
        log.error("%s failed; read its log with `dvc queue logs %s`", name, name)
    return 1 if failed else 0


if __name__ == "__main__":
    main()
