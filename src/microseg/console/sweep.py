"""`microseg sweep`: the experiments of a grid."""

import argparse


def define(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command its description and arguments."""
    parser.description = (
        "Run an experiment for each combination of the values, beside the workspace. What there is already is not "
        "run again; the same command goes on after an interruption."
    )
    add_settings(
        parser, "KEY=VALUE,VALUE", "a parameter of params.yaml and its values; may be given several times"
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=int,
        metavar="N",
        help="experiments at a time on this machine (default: 1); with several GPUs each has one of its own",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what there is to do")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of this Dask scheduler, such as tcp://127.0.0.1:8786, run and push the experiments",
    )
    parser.add_argument(
        "--remote",
        default="origin",
        metavar="NAME",
        help="with --scheduler: the git repository that the workers push to (default: %(default)s)",
    )
    parser.set_defaults(run=_sweep, refuse=parser.error)


def _sweep(parsed: argparse.Namespace) -> int:
    jobs = 1 if parsed.jobs is None else parsed.jobs
    if not parsed.settings or jobs < 1:
        parsed.refuse("give -S KEY=VALUE,VALUE; --jobs is at least 1")
    if parsed.scheduler and parsed.jobs is not None:
        parsed.refuse("--scheduler takes no --jobs; start as many workers as experiments are to run at a time")
    from microseg.common.params import PARAMS
    from microseg.experiments.settings import build_grid

    experiments = build_grid(parsed.settings, PARAMS)
    if parsed.scheduler:
        from microseg.experiments.cluster import run_cluster_sweep

        failed = run_cluster_sweep(experiments, parsed.scheduler, parsed.remote, dry_run=parsed.dry_run)
    else:
        from microseg.experiments.sweep import run_sweep

        failed = run_sweep(experiments, jobs, dry_run=parsed.dry_run)
    return 1 if failed else 0


def add_settings(parser: argparse.ArgumentParser, form: str, help_text: str) -> None:
    """Add -S as `dvc exp run` has it, any number of times; `form` is what the help shows behind it."""
    parser.add_argument(
        "-S", "--set-param", action="append", default=[], metavar=form, dest="settings", help=help_text
    )
