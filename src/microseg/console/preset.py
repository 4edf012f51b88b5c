"""`microseg preset`: the settings of a file as options of `dvc exp run`."""

import argparse
import sys
from pathlib import Path


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Print the settings of a file as options of `dvc exp run` and `microseg sweep`, as in: "
        "dvc exp run -n study $(microseg preset presets/study.yaml)"
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a file like params.yaml with only the keys to change"
    )
    parser.set_defaults(run=_print_options)


def _print_options(parsed: argparse.Namespace) -> int:
    from microseg.common.params_file import PARAMS
    from microseg.experiments.settings import preset_options

    sys.stdout.write(" ".join(preset_options(parsed.file, PARAMS)) + "\n")
    return 0
