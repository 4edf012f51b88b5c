"""`microseg agreement`: the points that several annotators agree on, an optional step before the pipeline."""

import argparse
from pathlib import Path


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = "Find the points that at least two annotators agree on, and count them."
    parser.add_argument(
        "--points", type=Path, required=True, metavar="TABLE", help="a table with a column of points per annotator"
    )
    parser.add_argument(
        "--annotators", nargs="+", default=["A", "B", "C"], metavar="NAME", help="the columns (default: A B C)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=30,
        metavar="PIXELS",
        help="largest distance between points that agree, in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--agreed", type=Path, required=True, metavar="TABLE", help="write the points agreed on to this CSV file"
    )
    parser.add_argument(
        "--metrics", type=Path, required=True, metavar="FILE", help="write their counts to this JSON file"
    )
    parser.set_defaults(run=_agreement)


def _agreement(arguments: argparse.Namespace) -> int:
    from collections import Counter

    from microseg.annotations.agreement import agreed_points, read_markers
    from microseg.common.files import write_csv, write_json
    from microseg.common.progress import progress

    markers = read_markers(arguments.points, arguments.annotators)
    agreed = {
        image: agreed_points(marked, arguments.threshold)
        for image, marked in progress(markers.items(), "matching")
    }
    rows = [
        (image, *one.point, " ".join(arguments.annotators[position] for position in one.annotators))
        for image, points in agreed.items()
        for one in points
    ]
    counts = Counter(len(one.annotators) for points in agreed.values() for one in points)
    write_csv(arguments.agreed, ("image", "x", "y", "annotators"), rows)
    metrics = {
        "threshold": arguments.threshold,
        "images": len(agreed),
        "images_without_agreed_point": sum(not points for points in agreed.values()),
        "agreed_points": len(rows),
        "agreed_by": {str(number): counts[number] for number in range(2, len(arguments.annotators) + 1)},
    }
    write_json(arguments.metrics, metrics)
    return 0
