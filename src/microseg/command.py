"""What every stage script shares: its command line, its log lines, and its way of refusing bad input."""

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from microseg.errors import InputError
from microseg.params import Params, read_params

DVC_STAGE = "DVC_STAGE"
"""The environment variable in which DVC names the stage whose command it starts."""


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
    _end_with_dvc()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    try:
        main(parsed, read_params(parsed.params))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_dvc() -> None:
    """End this process when the DVC that started it is gone.

    A killed DVC leaves the commands of its stages running. Such a leftover would finish later, perhaps in the
    middle of the next run, and put its outputs in the place of newer ones.
    """
    if DVC_STAGE not in os.environ:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
