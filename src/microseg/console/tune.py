"""`microseg tune`: the settings that suit one's own micrographs."""

import argparse
import re
from pathlib import Path

UNITS = {"s": 1, "min": 60, "h": 3600}


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Train candidates on the micrographs of params.yaml, first briefly, then the better half for longer, and "
        "write the settings with the highest validation IoU to a preset. The test set has no part in the choice. "
        "Experiments that exist are not run again, so the same command continues after an interruption."
    )
    parser.add_argument(
        "--budget",
        type=_seconds,
        default="30min",
        metavar="TIME",
        help="no round after the first starts that would end later, such as 90s or 2h (default: %(default)s)",
    )
    parser.add_argument(
        "--candidates",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="presets to choose from (default: those in presets/candidates)",
    )
    parser.add_argument(
        "-j", "--jobs", type=int, default=1, metavar="N", help="trainings to run at a time (default: 1)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("presets/tuned.yaml"),
        metavar="FILE",
        help="preset to write (default: %(default)s)",
    )
    parser.add_argument(
        "--robust",
        action="store_true",
        help="choose by the mean of the validation IoU and that under the perturbation that costs most",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be tried, and why")
    parser.set_defaults(run=_tune, refuse=parser.error)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h)", text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it like 90s, 30min or 2h")
    return float(match[1]) * UNITS[match[2]]


def _tune(parsed: argparse.Namespace) -> int:
    if parsed.jobs < 1:
        parsed.refuse("--jobs: give at least 1")
    from microseg.experiments.tuning import tune

    options = {"robust": parsed.robust, "dry_run": parsed.dry_run}
    print(tune(parsed.candidates, parsed.budget, parsed.jobs, parsed.output, **options), end="")
    return 0
