"""`microseg next`: which micrographs to correct next, and why."""

import argparse
from pathlib import Path

from microseg.console.segment import (
    add_crop_option,
    add_network_options,
    add_scale_options,
    network_settings,
    pixel_sizes,
)


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "List the micrographs of a folder to correct next: those that the network is least sure of, from which it "
        "learns most, and a random sample of all, which says how wrong it is on this material."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the micrographs: PNG, TIFF, JPEG or BMP")
    parser.add_argument(
        "--model",
        default="models",
        metavar="MODEL",
        help="the folder of a trained model, or URL#revision of a repository that has one (default: %(default)s)",
    )
    for name, default, what in (
        ("count", 5, "number of the most uncertain micrographs"),
        ("random", 5, "number of micrographs drawn at random from all"),
        ("seed", 1, "seed of the random sample"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)"
        )
    add_network_options(parser)
    add_scale_options(parser)
    add_crop_option(parser)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("next.csv"),
        metavar="TABLE",
        help="the table to write, which must not exist (default: %(default)s)",
    )
    parser.set_defaults(run=_next, refuse=parser.error)


def _next(parsed: argparse.Namespace) -> int:
    if min(parsed.count, parsed.random, parsed.seed) < 0 or parsed.count + parsed.random == 0:
        parsed.refuse("--count, --random, --seed: give numbers from 0 on, and one micrograph at least")
    from microseg.measurement.selection import write_next
    from microseg.measurement.settings import Request, Settings, parse_crop

    settings = Settings(crop_bottom=parse_crop(parsed.crop_bottom), **network_settings(parsed))
    request = Request(parsed.folder, parsed.model, parsed.output, settings, **pixel_sizes(parsed))
    for one in write_next(request, parsed.count, parsed.random, parsed.seed):
        print(f"{one.image}: {one.reason}, uncertainty {one.uncertainty:.3f} bit, rank {one.rank}")
    print("Written:", parsed.output)
    return 0
