"""`microseg experiments`: plot comparable experiments, choose the best one, or record the noise of seeds."""

import argparse
from pathlib import Path

from microseg.common.errors import InputError


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Plot the IoU of both methods against one parameter for experiments that agree in all other parameters, "
        "and list those excluded with the reason; or choose the best experiment on the validation micrographs."
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--x", metavar="KEY", help="plot IoU against this parameter")
    task.add_argument(
        "--best",
        action="store_true",
        help="choose the highest validation IoU among experiments with the same data; show only its test score",
    )
    task.add_argument(
        "--noise",
        action="store_true",
        help="record the spread of scores among experiments that differ only in train.seed, for `microseg review`",
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="take experiments with this value instead of the one in params.yaml; may be given several times",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("plots/experiments"),
        metavar="FOLDER",
        help="folder for the PNG, CSV and Markdown files (default: %(default)s)",
    )
    commits = parser.add_mutually_exclusive_group()
    commits.add_argument(
        "--rev", metavar="COMMIT", help="take the experiments of this commit (default: the current one)"
    )
    commits.add_argument(
        "--all-commits",
        action="store_true",
        help="take the experiments of all commits of this branch, although their code may differ",
    )
    parser.set_defaults(run=_experiments)


def _experiments(parsed: argparse.Namespace) -> int:
    from microseg.common.params_file import PARAMS, check_key, read_params
    from microseg.experiments.best import choose, to_text
    from microseg.experiments.comparison import EVALUATION, SEED, SPLIT, compare, read_micrographs
    from microseg.experiments.dvc_access import cell, experiment_table
    from microseg.experiments.review import SEED_NOISE, record_noise
    from microseg.experiments.settings import parse_setting, parse_value
    from microseg.experiments.sweep_report import to_markdown, write_report

    if parsed.x:
        check_key(parsed.x)
    read_params(PARAMS)  # reports mistakes in it by key
    conditions = {}
    for setting in parsed.where:
        key, texts = parse_setting(setting)
        if key == parsed.x or len(texts) != 1:
            raise InputError(f"--where {setting}: give one value, and another parameter than that of --x")
        conditions[key] = cell(parse_value(texts[0]))
    rows = experiment_table(-1 if parsed.all_commits else 1, parsed.rev, (EVALUATION, SPLIT))
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
