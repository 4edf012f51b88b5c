"""The command line of every stage script, its log format, and its exit on wrong input."""

import argparse
import errno
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from microseg.common.errors import InputError
from microseg.common.params import Params
from microseg.common.params_file import read_params

DVC_STAGE = "DVC_STAGE"
"""The environment variable in which DVC names the stage whose command it runs."""

LAUNCHER = "MICROSEG_LAUNCHER"
"""The environment variable with the program, such as "srun --exact", that starts a stage on every device.

It is split into words by the rules of a POSIX shell, whatever shell the user has."""

LAUNCHED = "MICROSEG_LAUNCHED"
"""The environment variable that is set in the processes that the launcher starts."""


def run_stage(
    main: Callable[[argparse.Namespace, Params], None],
    description: str,
    arguments: dict[str, str],
    *,
    on_every_device: bool = False,
) -> None:
    """Parse the command line, read params.yaml and run `main`; exit with status 1 and one line on an InputError.

    `arguments` has the help text of each path that the stage takes: "raw-images" is given as `--raw-images PATH`.
    With `on_every_device` the program that MICROSEG_LAUNCHER names, if any, starts the stage.
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
        if on_every_device:
            _hand_over_to_launcher()
        _exit_with_dvc()
        main(parsed, read_params(parsed.params))
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"error: the disk is full ({error}); free some space, then start the stage again")
    except KeyboardInterrupt:
        sys.exit(130)


def _hand_over_to_launcher() -> None:
    """Let the launcher start this script again, and exit with its status; without a launcher, do nothing.

    This process waits, and ends the launcher if DVC is gone or this process is told to end. InputError where
    MICROSEG_LAUNCHER cannot be split into words, or its program cannot be started.
    """
    if LAUNCHED in os.environ:
        return
    try:
        launcher = shlex.split(os.environ.get(LAUNCHER, ""))
    except ValueError as error:
        raise InputError(f"{LAUNCHER}: its quotes do not match ({error}); correct it") from None
    if not launcher:
        return
    command = [*launcher, sys.executable, *sys.argv]
    try:
        process = subprocess.Popen(command, env=os.environ | {LAUNCHED: "1"})
    except OSError as error:
        raise InputError(f"{LAUNCHER}: {launcher[0]} cannot be started ({error.strerror}); correct it") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _exit_with_dvc(process.terminate)
    try:
        sys.exit(process.wait())
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def _exit_with_dvc(clean_up: Callable[[], None] = lambda: None) -> None:
    """Exit, after `clean_up`, when the DVC that started this process is gone.

    A killed DVC leaves the commands of its stages running. Such an orphan would finish later, perhaps in the
    middle of the next run, and overwrite newer outputs.
    """
    if DVC_STAGE not in os.environ:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        clean_up()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
