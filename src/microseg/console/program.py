"""The console program `microseg`: its commands, and how each of them ends."""

import argparse
import errno
import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from microseg.common.errors import InputError
from microseg.common.files import is_utf8

COMMANDS = {
    "segment": "segment micrographs and measure the material",
    "measure": "measure masks that were drawn or corrected",
    "next": "list the micrographs to correct next",
    "sweep": "run the experiments of a grid that do not exist yet",
    "preset": "print the settings of a file as options of dvc exp run",
    "experiments": "plot comparable experiments, or choose the best one",
    "compare": "compare two experiments on the same micrographs",
    "tune": "find the settings that suit one's own micrographs",
    "crossval": "cross-validate: test every micrograph once",
    "review": "compare the working tree with a commit, as Markdown",
    "agreement": "find the points that several annotators agree on",
}
"""Each command with its line in `microseg --help`. The module of the same name in this package defines it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: with status 1 and one line of text on an InputError, with 130 after Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    parsed = _parser(given).parse_args(given)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    # On SIGTERM, clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Where output is redirected, its encoding may lack characters such as the plus-minus sign.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for word in given:
        if not is_utf8(word):
            sys.exit(f"error: {word}: is not UTF-8, so results could not name it; rename it")
    try:
        sys.exit(parsed.run(parsed))
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            sys.exit(f"error: {error.filename}: the name is longer than this file system allows; shorten it")
        raise
    except KeyboardInterrupt:
        sys.exit(130)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the command given in `arguments` is imported."""
    parser = argparse.ArgumentParser(
        prog="microseg", description="Measure micrographs with a trained model, and run and compare experiments."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    given = next((word for word in arguments if not word.startswith("-")), None)
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        if name == given:
            importlib.import_module(f"microseg.console.{name}").define(command)
    return parser


if __name__ == "__main__":
    main()
