"""`microseg sweep`: the experiments of a grid of parameters."""

import argparse


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Run an experiment for each combination of the values, outside of the workspace. Experiments that exist "
        "are not run again, so the same command continues after an interruption."
    )
    add_settings(
        parser, "KEY=VALUE,VALUE", "a parameter of params.yaml and its values; may be given several times"
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=int,
        metavar="N",
        help="experiments to run at a time on this machine (default: 1); several GPUs are shared among them",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list the experiments to run")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="have the workers of this Dask scheduler, such as tcp://127.0.0.1:8786, run and push the experiments",
    )
    parser.add_argument(
        "--remote",
        default="origin",
        metavar="NAME",
        help="with --scheduler: the git remote that the workers push to (default: %(default)s)",
    )
    parser.set_defaults(run=_sweep, refuse=parser.error)


def _sweep(parsed: argparse.Namespace) -> int:
    jobs = 1 if parsed.jobs is None else parsed.jobs
    if not parsed.settings or jobs < 1:
        parsed.refuse("give -S KEY=VALUE,VALUE, and --jobs of at least 1")
    if parsed.scheduler and parsed.jobs is not None:
        parsed.refuse("--scheduler takes no --jobs; start as many workers as experiments shall run at a time")
    from microseg.common.params_file import PARAMS
    from microseg.experiments.settings import build_grid

    experiments = build_grid(parsed.settings, PARAMS)
    if parsed.scheduler:
        from microseg.experiments.cluster import run_cluster_sweep

        failed = run_cluster_sweep(experiments, parsed.scheduler, parsed.remote, dry_run=parsed.dry_run)
    else:
        from microseg.experiments.sweep import run_sweep

        failed = run_sweep(experiments, jobs, dry_run=parsed.dry_run)
    return 1 if failed else 0


def add_settings(parser: argparse.ArgumentParser, metavar: str, help_text: str) -> None:
    """Add the option -S of `dvc exp run`, which may be given several times; the help shows `metavar` behind it."""
    parser.add_argument(
        "-S", "--set-param", action="append", default=[], metavar=metavar, dest="settings", help=help_text
    )
