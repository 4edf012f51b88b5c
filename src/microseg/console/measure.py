"""`microseg measure`: measure masks that were drawn or corrected, and compare them with earlier results."""

import argparse
from pathlib import Path

from microseg.console.segment import add_common_options, measure


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Measure the islands of given masks or outlines, and write the same masks, tables and report as segment. "
        "Micrographs without a mask are not measured."
    )
    group = parser.add_argument_group("masks")
    group.add_argument(
        "--masks",
        required=True,
        type=Path,
        metavar="EDITED",
        help="a folder of masks, of numbered islands, or of files of LabelMe, QuPath or ImageJ; or a file of COCO",
    )
    group.add_argument(
        "--foreground",
        nargs="+",
        metavar="CLASS",
        help="the values or classes that are islands (default: all values but 0, or the only class)",
    )
    group.add_argument(
        "--mask-suffix",
        default="",
        metavar="SUFFIX",
        help="what the names of masks have behind those of micrographs, such as _mask",
    )
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--compare-with", type=Path, metavar="RESULTS", help="report what changed since these results of segment"
    )
    group.add_argument(
        "--random-sample",
        nargs="?",
        const=Path("next.csv"),
        type=Path,
        metavar="LIST",
        help="the micrographs with masks are a random sample of those of --compare-with, such as the one in this "
        "list of microseg next (default: %(const)s, if there is one): correct the means of all",
    )
    add_common_options(parser)
    parser.set_defaults(run=_measure, refuse=parser.error)


def _measure(parsed: argparse.Namespace) -> int:
    if parsed.random_sample is not None and parsed.compare_with is None:
        parsed.refuse("--random-sample needs --compare-with, the results of all micrographs")
    source = {name: getattr(parsed, name) for name in ("masks", "mask_suffix", "compare_with", "random_sample")}
    foreground = None if parsed.foreground is None else tuple(parsed.foreground)
    return measure(parsed, {}, model="", foreground=foreground, **source)
