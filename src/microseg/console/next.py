"""`microseg next`: which micrographs to correct next, and why."""

import argparse
from pathlib import Path


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
    parser.add_argument(
        "--crop-bottom",
        default="0",
        metavar="auto|ROWS",
        help="cut off the information bar: detect it, or cut this many rows (default: %(default)s)",
    )
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

    settings = Settings(crop_bottom=parse_crop(parsed.crop_bottom))
    request = Request(parsed.folder, parsed.model, parsed.output, settings)
    for one in write_next(request, parsed.count, parsed.random, parsed.seed):
        print(f"{one.image}: {one.reason}, uncertainty {one.uncertainty:.3f} bit, rank {one.rank}")
    print("Written:", parsed.output)
    return 0
