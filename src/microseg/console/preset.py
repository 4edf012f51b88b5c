"""`microseg preset`: the settings of a file, as options of `dvc exp run`."""

import argparse
import sys
from pathlib import Path


def define(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command its description and arguments."""
    parser.description = (
        "Print what a file of settings changes as options of `dvc exp run` and `microseg sweep`: "
        "dvc exp run -n study $(microseg preset presets/study.yaml)"
    )
    parser.add_argument(
        "file", type=Path, help="a file in the form of params.yaml, with only the keys that it changes"
    )
    parser.set_defaults(run=_print_options)


def _print_options(parsed: argparse.Namespace) -> int:
    from microseg.common.params import PARAMS
    from microseg.experiments.settings import options_of

    sys.stdout.write(" ".join(options_of(parsed.file, PARAMS)) + "\n")
    return 0
