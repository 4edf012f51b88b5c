"""The console program `microseg`: which commands there are, and how each of them ends."""

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Sequence

from microseg.common.errors import InputError

COMMANDS = {
    "segment": "segment micrographs and measure the material",
    "sweep": "run the experiments of a grid that are not there yet",
    "preset": "print the settings of a file as options of dvc exp run",
    "experiments": "draw what comparable experiments show",
    "compare": "compare two experiments on the same micrographs, with intervals",
    "crossval": "test every micrograph with a network that has not seen it",
    "review": "compare with a commit, as Markdown for a review",
    "agreement": "find the points that several annotators agree upon",
}
"""Each command with the line that `microseg --help` has for it; its module here has the name of the command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 1 and one line on an InputError."""
    parsed = _parser(sys.argv[1:] if arguments is None else arguments).parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    # A program that is told to end tidies up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(parsed.run(parsed))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; of the commands only the one that is asked for is imported."""
    parser = argparse.ArgumentParser(prog="microseg", description="What the pipeline has beside its stages.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        if name == asked:
            importlib.import_module(f"microseg.console.{name}").define(command)
    return parser


if __name__ == "__main__":
    main()
