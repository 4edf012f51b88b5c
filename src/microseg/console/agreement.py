"""`microseg agreement`: the points that several annotators agree upon, an optional step before the pipeline."""

import argparse
from pathlib import Path


def define(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command its description and arguments."""
    parser.description = "Find the points that at least two annotators agree upon, and count them."
    parser.add_argument(
        "--points", type=Path, required=True, help="a table with a column of points for each annotator"
    )
    parser.add_argument("--annotators", nargs="+", default=["A", "B", "C"], help="the columns (default: A B C)")
    parser.add_argument(
        "--threshold", type=float, default=30, help="largest distance in pixels (default: %(default)s)"
    )
    parser.add_argument("--agreed", type=Path, required=True, help="the table of agreed points to write")
    parser.add_argument("--metrics", type=Path, required=True, help="the metrics to write")
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
