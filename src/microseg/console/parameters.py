"""What commands about parameters share: the file that has them, and the option that sets them."""

import argparse
from pathlib import Path

PARAMS = Path("params.yaml")
"""The parameters of the project in whose top folder a command runs."""


def add_settings(parser: argparse.ArgumentParser, form: str, help_text: str) -> None:
    """Add -S as `dvc exp run` has it, any number of times; `form` is what the help shows behind it."""
    parser.add_argument(
        "-S", "--set-param", action="append", default=[], metavar=form, dest="settings", help=help_text
    )
