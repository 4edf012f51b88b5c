"""`microseg experiments`: what comparable experiments show."""

import argparse
from pathlib import Path

from microseg.common.errors import InputError


def define(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command its description and arguments."""
    parser.description = (
        "Draw the IoU of both methods against one parameter, with the experiments that have everything else in "
        "common, and say which others were left out and why; or choose the best one on the validation micrographs."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--x", metavar="KEY", help="the parameter to draw against")
    what.add_argument(
        "--best",
        action="store_true",
        help="choose the highest validation IoU among experiments with the same data; show its test score only",
    )
    what.add_argument(
        "--noise",
        action="store_true",
        help="record how much scores differ between experiments that differ in train.seed only, for the review",
    )
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
    from microseg.common.params import PARAMS, check_key, read_params
    from microseg.experiments.best import choose, to_text
    from microseg.experiments.comparison import SEED, compare, read_micrographs
    from microseg.experiments.dvc_access import cell, experiment_table
    from microseg.experiments.review import SEED_NOISE, record_noise
    from microseg.experiments.settings import parse_setting, parse_value
    from microseg.experiments.sweep_report import to_markdown, write_report

    if parsed.x:
        check_key(parsed.x)
    read_params(PARAMS)  # so that a mistake in it is called by its name
    conditions = {}
    for setting in parsed.where:
        key, texts = parse_setting(setting)
        if key == parsed.x or len(texts) != 1:
            raise InputError(f"--where {setting}: give one value, and not for the parameter to draw against")
        conditions[key] = cell(parse_value(texts[0]))
    rows = experiment_table(commits=-1 if parsed.all_commits else 1, revision=parsed.rev)
    if parsed.best:
        print(to_text(choose(rows, conditions)))
        return 0
    comparison = compare(rows, SEED if parsed.noise else parsed.x, conditions)
    if parsed.noise:
        path = parsed.output / Path(SEED_NOISE).name
        record_noise(comparison, path)
        print(path.read_text(encoding="utf-8"))
        return 0
    settings = "".join(f", {setting}" for setting in parsed.where)
    micrographs = read_micrographs(comparison)
    paths = write_report(comparison, micrographs, parsed.output, settings)
    print(to_markdown(comparison, micrographs, settings))
    print("Written:", *paths)
    return 0
