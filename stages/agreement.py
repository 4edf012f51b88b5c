"""Find the points that at least two annotators agree upon: an optional step before the pipeline."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from microseg.agreement import agreed_points, read_markers
from microseg.errors import InputError
from microseg.files import write_csv, write_json
from microseg.progress import progress


def main(arguments: argparse.Namespace) -> None:
    """Write the agreed points and how many there are."""
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--points", type=Path, required=True, help="a table with a column of points for each annotator"
    )
    parser.add_argument("--annotators", nargs="+", default=["A", "B", "C"], help="the columns (default: A B C)")
    parser.add_argument(
        "--threshold", type=float, default=30, help="largest distance in pixels (default: %(default)s)"
    )
    parser.add_argument("--agreed", type=Path, required=True, help="the table of agreed points to write")
    parser.add_argument("--metrics", type=Path, required=True, help="the metrics to write")
    try:
        main(parser.parse_args())
    except InputError as error:
        sys.exit(f"error: {error}")
