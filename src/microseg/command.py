"""What every stage script shares: its command line, its log lines, and its way of refusing bad input."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from microseg.errors import InputError
from microseg.params import Params, read_params


def run_stage(
    main: Callable[[argparse.Namespace, Params], None], description: str, arguments: dict[str, str]
) -> None:
    """Parse the command line, read params.yaml, run `main`; exit with status 1 and one line on an InputError.

    `arguments` maps the name of each path the stage takes to its help text; `raw-images` is given as
    `--raw-images PATH` and reaches `main` as `raw_images`.
    """
    parser = argparse.ArgumentParser(description=description)
    for name, help_text in arguments.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=help_text)
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        metavar="PATH",
        help="the parameter file (default: %(default)s)",
    )
    parsed = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    try:
        main(parsed, read_params(parsed.params))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
